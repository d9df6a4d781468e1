// TrainStep: everything that changes when a step is taken, and the step itself. A step is a
// function of (config, seed, step): the sampler says which sequences, the schedule which rate;
// nothing here remembers how it got there. Allocates nothing.
#pragma once
#include "pretrain/model/model.hpp"
#include "pretrain/optim/adamw.hpp"
#include "pretrain/train/gradient_tree.hpp"
#include "pretrain/train/shard_exchange.hpp"
#include "pretrain/weight_grid.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
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

/// Over several ranks every one calls the same functions in the same order. Each computes its own
/// slots, owns a share of the optimizer's state and has all parameters.
class TrainStep : private PassHooks {
 public:
  /// Borrows all of them; without `ranks` it is alone.
  TrainStep(const RunConfig& config,
            const BatchPlan& plan,
            const ParamTable& table,
            Backend& backend,
            Communicator* ranks = nullptr);

  TrainStep(const TrainStep&) = delete;  // its parts point at each other
  TrainStep& operator=(const TrainStep&) = delete;

  /// Loss and gradients of sequences step*B .. step*B+B-1 from `source`.
  StepResult compute(int64_t step, const SequenceSource& source);
  /// One update at `rate` with the gradients just computed.
  void apply(double rate, const StepResult& result);
  /// Both; values that are not finite skip the update.
  StepResult run(int64_t step, double rate, const SequenceSource& source);

  /// Initial or imported parameters: `fill` gets them in host memory.
  void fill_parameters(const std::function<void(ParamBuffer& parameters)>& fill);

  /// fp32 masters, which the optimizer moves, in the backend's memory like all that follows. After
  /// apply() the other ranks' rows may be still on their way: settle() first.
  ParamBuffer parameters;
  AdamWOptimizer optimizer;
  int64_t updates = 0;  // applied so far: steps less skipped ones

  Model& model() { return model_; }
  const BatchPlan& plan() const { return plan_; }
  size_t gradient_bytes() const { return gradients_.bytes(); }
  /// Of the last compute(), until the next: before clipping, shaped by make_gradient_table. Only
  /// our rows, until gather_gradients().
  const ParamBuffer& gradients() const { return gradients_.sum(); }
  void gather_gradients() {
    if (exchange_) exchange_->gather_gradients();
  }
  /// Waits for what other ranks updated. The model's passes do so by themselves.
  void settle();
  const Sharding& sharding() const { return sharding_; }
  WireTotals wire_totals() const { return exchange_ ? exchange_->wire_totals() : WireTotals(); }
  /// What the model reads: the masters, or with schedule.quantize a copy of them that may lie on
  /// the grid. Settled as they are.
  const ParamBuffer& weights() const { return grid_ ? rounded_ : parameters; }
  /// Whether that copy lies on the grid, from now on. Off at first.
  void quantize(bool on);
  /// After the parameters were written from outside, in place (a checkpoint).
  void refresh_weights() { refresh_weights(0, table_.size()); }

 private:
  void before_forward(int block) override;
  void after_backward(int block) override;
  size_t bucket_of(int block) const;
  void refresh_weights(size_t first, size_t last);
  double accumulate_slot(int64_t slot,
                         int64_t first_sequence,
                         double grad_scale,
                         const SequenceSource& source);
  void read_micro_batch(int64_t first_sequence, const SequenceSource& source);

  const RunConfig& config_;
  BatchPlan plan_;
  const ParamTable& table_;
  Backend& backend_;
  Sharding sharding_;
  SlotRange slots_;  // ours
  std::optional<WeightGrid> grid_;
  ParamBuffer rounded_;  // with a grid
  bool quantized_ = false;
  Model model_;
  ParamTable gradient_table_;
  GradientTree gradients_;
  std::optional<ShardExchange> exchange_;  // with more than one rank
  bool leaving_ = false;                   // gradients become complete in this backward pass
  std::vector<bool> arriving_;             // per bucket: parameters are on their way
  std::vector<int32_t> window_, tokens_, targets_;
  std::vector<double> slot_losses_;
};

}  // namespace isoflop
