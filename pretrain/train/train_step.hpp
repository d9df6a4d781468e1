// TrainStep: everything that changes when a step is taken, and the step itself. A step is a
// function of (config, seed, step): the sampler says which sequences, the schedule which rate;
// nothing here remembers how it got there. Allocates nothing.
#pragma once
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/model/parts.hpp"
#include "pretrain/optim/optimizer.hpp"
#include "pretrain/train/gradient_tree.hpp"
#include "pretrain/train/shard_exchange.hpp"
#include "pretrain/train/stage_links.hpp"
#include "pretrain/weight_grid.hpp"
#include "report/trace.hpp"

#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace isoflop {

/// Fills `window` (context+1 tokens) with global sequence `sequence`. Sampler::read, or random
/// tokens where only speed is asked for.
using SequenceSource = std::function<void(uint64_t sequence, std::span<int32_t> window)>;

struct StepResult {
  double loss = 0;       // nats per token, before the update
  double grad_norm = 0;  // before clipping
  bool skipped = false;  // by run(): something was not finite, all is as before

  bool finite() const { return std::isfinite(loss) && std::isfinite(grad_norm); }
};

/// Which parameters and which rows of the gradient table a rank has whole. The last stage needs
/// the matrix of a tied head, too, and has that head's gradient.
std::vector<bool> held_parameters(const ModelConfig& model, const Sharding& sharding);
std::vector<bool> held_gradients(const ModelConfig& model, const Sharding& sharding);
/// The blocks and activations of a rank's stage, of its part of the model.
BlockShape block_shape(const RunConfig& config, const BatchPlan& plan, const ProcessGrid& grid);
/// The grid that a config makes of so many ranks. UserError when they do not fit.
GridShape grid_shape(const RunConfig& config, int ranks);

/// Over several ranks every one calls the same functions in the same order. Each computes its own
/// slots and owns a share of the optimizer's state. It has the parameters of its stage: all of
/// them unless parallel.pp says that there are more; then the micro-batches of its slots go
/// through the pipeline one after another. With parallel.tp it has a part of each, and the ranks
/// that have the others' compute each micro-batch with it.
class TrainStep : private PassHooks {
 public:
  /// Borrows all of them; without `ranks` it is alone. `wire`: the same ranks, for messages in the
  /// backend's memory; null where that is the host's. Collective.
  TrainStep(const RunConfig& config,
            const BatchPlan& plan,
            const ParamTable& table,
            Backend& backend,
            Communicator* ranks = nullptr,
            Communicator* wire = nullptr);

  TrainStep(const TrainStep&) = delete;  // its parts point at each other
  TrainStep& operator=(const TrainStep&) = delete;

  /// Loss and gradients of the step's sequences (plan().first_sequence) from `source`.
  StepResult compute(int64_t step, const SequenceSource& source) {
    start(step, source);
    return result();
  }
  /// One update at `rate` with the gradients just computed.
  void apply(double rate, const StepResult& result);
  /// Both; values that are not finite skip the update.
  StepResult run(int64_t step, double rate, const SequenceSource& source);

  // The same for a device that need not wait for the host. compute() in two halves: start() queues
  // all of it, result() waits for its numbers.
  void start(int64_t step, const SequenceSource& source);
  /// Between the two, where decides_itself(): the update, which the device leaves out when
  /// something is not finite.
  void apply_if_finite(double rate);
  StepResult result();
  bool decides_itself() const { return numbers_ && !exchange_ && optimizer.takes_factor(); }
  /// The sum of the token losses of a batch of at most a micro-batch's tokens, in nats; 0 on
  /// stages before the last, which from_last_stage() tells.
  double evaluate(const Batch& batch);
  double from_last_stage(double value) { return links_ ? links_->from_last(value) : value; }

  /// Initial or imported parameters: `fill` gets them in host memory.
  void fill_parameters(const std::function<void(ParamBuffer& parameters)>& fill);

 private:
  // First: what is made below is shaped by them.
  Sharding sharding_;
  ModelConfig part_model_;  // the model as our part of it
  ParamTable part_table_;   // our part of each tensor

 public:
  /// fp32 masters of our stage and part, which the optimizer moves, in the backend's memory like
  /// all that follows. After apply() the other ranks' rows may be still on their way: settle()
  /// first.
  ParamBuffer parameters;
  Optimizer optimizer;
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
  /// Every tensor of the parameters or weights() in table order, whole and settled: at the first
  /// rank, `visit` sees each of them in host memory, whoever has it. Collective.
  void visit_all(const ParamBuffer& ours,
                 const std::function<void(size_t param, View value)>& visit);
  const Sharding& sharding() const { return sharding_; }
  /// From now on, passes go into `trace`. (The head belongs to the backward pass, since each slice
  /// of logits is turned into gradients at once.) Borrowed; null: none.
  void record(Trace* trace) { trace_ = trace; }
  WireTotals wire_totals() const;
  /// What the model reads: the masters, or with schedule.quantize a copy of them that may lie on
  /// the grid. Settled as they are.
  const ParamBuffer& weights() const { return grid_ ? rounded_ : parameters; }
  /// Whether that copy lies on the grid, from now on. Off at first.
  void quantize(bool on);
  /// After the parameters were written from outside, in place (a checkpoint).
  void refresh_weights() { refresh_weights(0, table_.size()); }

 private:
  void before_forward(int block) override;
  void after_feed_forward(int block) override;
  void after_backward(int block) override;
  struct BucketRange {
    size_t first = 0, last = 0;  // [first, last)
  };
  /// Of a block, in the order of the backward pass.
  BucketRange buckets_of(int block) const;
  void send_gradients(size_t bucket);
  void refresh_weights(size_t first, size_t last);
  void settle(size_t bucket);
  int64_t slice_of(int64_t tokens) const { return parts_ ? parts_->slice(tokens).count : tokens; }
  void begin(int64_t step);
  void carry_out(const PipeInstruction& instruction, int64_t step, const SequenceSource& source);
  void forward(int64_t micro, int64_t step, const SequenceSource& source);
  void backward(int64_t micro, int64_t step, const SequenceSource& source);
  void visit_on_host(const ParamBuffer& ours,
                     const std::function<void(size_t param, View value)>& visit);
  void collect(size_t param, const ParamBuffer& ours, View whole);
  Batch micro_batch(int64_t micro, int64_t step, const SequenceSource& source);

  const RunConfig& config_;
  BatchPlan plan_;
  const ParamTable& table_;
  Backend& backend_;
  SlotRange slots_;        // ours
  PipeSchedule schedule_;  // of our stage
  int64_t micro_batches_;  // of a slot in this step
  double step_tokens_ = 0;
  int64_t in_flight_;
  Communicator* ranks_;
  Trace* trace_ = nullptr;
  std::optional<TensorParallel> parts_;  // with more than one part
  std::optional<WeightGrid> grid_;
  ParamBuffer rounded_;  // with a grid
  bool quantized_ = false;
  Model model_;
  ParamTable gradient_table_;
  GradientTree gradients_;
  std::optional<ShardExchange> exchange_;  // with more than one rank
  std::optional<StageLinks> links_;        // with more than one stage
  View output_;                            // of the stage, until it is sent
  bool leaving_ = false;                   // gradients become complete in this backward pass
  std::vector<bool> arriving_;             // per bucket: parameters are on their way
  std::vector<int32_t> window_, tokens_, targets_;
  uint64_t read_first_ = ~uint64_t{0};  // sequence of the step that tokens_ begin with
  std::vector<double> slot_losses_;
  Buffer numbers_memory_;
  // Of the step, where the backend keeps them: StepNumbers, or over several ranks the slots' losses
  // and then the squares of our chunks.
  View numbers_;
  std::vector<double> squares_;  // of our chunks
  bool applied_ = false;         // by apply_if_finite, since start()
};

}  // namespace isoflop
