// Run: everything that is decided before the first step. Made by prepare_run (prepare.hpp) from a
// config and its data; the trainer only carries it out.
#pragma once
#include "core/file.hpp"
#include "datasets/token_store.hpp"
#include "datasets/tokenizer.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/optim/schedule.hpp"
#include "pretrain/train/train_step.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

struct Run {
  RunConfig config;  // resolved: nothing that matters is left "auto"
  Origins origins;
  fs::path folder;
  std::shared_ptr<const Tokenizer> tokenizer;  // null when the stores came without one
  std::vector<std::shared_ptr<const TokenStore>> train;
  std::vector<std::shared_ptr<const TokenStore>> valid;  // may be empty
  ParamTable table;
  BatchPlan batch;
  Schedule schedule;
};

struct MemoryRow {
  std::string kind;
  size_t bytes = 0;
};
/// Everything a run allocates, by kind: parameters, gradients, moments, activations, staging of
/// checkpoints. What --dry-run prints and a launch is held to.
std::vector<MemoryRow> plan_memory(const RunConfig& config,
                                   const ParamTable& table,
                                   const BatchPlan& batch,
                                   DType activation,
                                   DType state);

}  // namespace isoflop
