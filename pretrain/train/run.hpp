// Run: everything that is decided before the first step. Made by prepare_run (prepare.hpp) from a
// config and its data; the trainer only carries it out.
#pragma once
#include "core/file.hpp"
#include "datasets/sampler.hpp"
#include "datasets/tokenizer.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/optim/schedule.hpp"
#include "pretrain/train/train_step.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// Stores that are scored together.
struct ValidSet {
  std::string name;  // empty: the only one, or that of the entries without a name
  TokenStores stores;
  double text_bytes =
      0;  // of what is scored; 0: not known, since no tokenizer came with the tokens
  /// What its metrics are called: valid/loss and valid/bits_per_byte of the main set,
  /// valid/NAME/loss and valid/NAME/bits_per_byte of one with a name.
  std::vector<std::string> loss_names, bits_names;
};

struct Run {
  RunConfig config;  // resolved: nothing that matters is left "auto"
  Origins origins;
  fs::path folder;
  std::shared_ptr<const Tokenizer> tokenizer;  // null when the stores came without one
  std::vector<SampledSource> train;
  std::vector<ValidSet> valid;  // the main one first; may be empty
  ParamTable table;
  BatchPlan batch;
  Schedule schedule;
};

struct MemoryRow {
  std::string kind;
  size_t bytes = 0;
};
/// Whose memory a plan is of: a host that computes itself, or a device beside it.
enum class MemoryOf { host, device };
/// Everything a run allocates there, by kind: parameters, gradients, moments, activations, staging
/// of checkpoints (the host's), copies of the weights in the activations' type. What --dry-run
/// prints and a launch is held to. Of the rank that takes the most, of `ranks`.
std::vector<MemoryRow> plan_memory(const RunConfig& config,
                                   const ParamTable& table,
                                   const BatchPlan& batch,
                                   DType activation,
                                   DType state,
                                   int ranks = 1,
                                   MemoryOf where = MemoryOf::host);

}  // namespace isoflop
