// TrainStep: everything that changes when a step is taken, and the step itself. A step is a
// function of (config, seed, step): the sampler says which sequences, the schedule which rate;
// nothing here remembers how it got there. Allocates nothing.
#pragma once
#include "pretrain/model/model.hpp"
#include "pretrain/optim/adamw.hpp"
#include "pretrain/train/gradient_tree.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace isoflop {

/// How the global batch is cut: slots x micro_batches x micro_batch sequences of `context` tokens.
struct BatchPlan {
  int64_t slots = 1;
  int64_t micro_batches = 1;  // per slot
  int64_t micro_batch = 1;    // sequences
  int64_t context = 0;

  int64_t sequences() const { return slots * micro_batches * micro_batch; }
  int64_t tokens() const { return sequences() * context; }
  int64_t micro_tokens() const { return micro_batch * context; }
};

/// Fills `window` (context+1 tokens) with global sequence `sequence`. Sampler::read, or random
/// tokens where only speed is asked for.
using SequenceSource = std::function<void(uint64_t sequence, std::span<int32_t> window)>;

struct StepResult {
  double loss = 0;       // nats per token, before the update
  double grad_norm = 0;  // before clipping
  bool skipped = false;  // by run(): something was not finite, all is as before

  bool finite() const { return std::isfinite(loss) && std::isfinite(grad_norm); }
};

class TrainStep {
 public:
  TrainStep(const RunConfig& config,
            const BatchPlan& plan,
            const ParamTable& table,
            Backend& backend);

  /// Loss and gradients of sequences step*B .. step*B+B-1 from `source`.
  StepResult compute(int64_t step, const SequenceSource& source);
  /// One update at `rate` with the gradients just computed.
  void apply(double rate, const StepResult& result);
  /// Both; values that are not finite skip the update.
  StepResult run(int64_t step, double rate, const SequenceSource& source);

  ParamBuffer parameters;  // fp32 masters
  AdamWOptimizer optimizer;
  int64_t updates = 0;  // applied so far: steps less skipped ones

  Model& model() { return model_; }
  const BatchPlan& plan() const { return plan_; }
  size_t gradient_bytes() const { return gradients_.bytes(); }
  /// Of the last compute(), until the next: before clipping, shaped by make_gradient_table.
  const ParamBuffer& gradients() const { return gradients_.sum(); }
  /// After the parameters were written from outside (initialization, a checkpoint).
  void refresh_weights() { model_.refresh_weights(); }

 private:
  double accumulate_slot(int64_t first_sequence, double grad_scale, const SequenceSource& source);
  void read_micro_batch(int64_t first_sequence, const SequenceSource& source);

  const RunConfig& config_;
  BatchPlan plan_;
  const ParamTable& table_;
  Backend& backend_;
  Model model_;
  GradientTree gradients_;
  std::vector<int32_t> window_, tokens_, targets_;
  std::vector<double> slot_losses_;
};

}  // namespace isoflop
