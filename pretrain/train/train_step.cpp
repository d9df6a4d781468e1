#include "pretrain/train/train_step.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

TrainStep::TrainStep(const RunConfig& config,
                     const BatchPlan& plan,
                     const ParamTable& table,
                     Backend& backend)
    : parameters(table, backend.state_dtype(), "parameters"),
      optimizer(table, config.optimizer, backend.state_dtype()),
      config_(config),
      plan_(plan),
      table_(table),
      backend_(backend),
      model_(config.model,
             table,
             parameters,
             backend,
             {plan.micro_tokens(), parse_recompute(config.compute.recompute), true}),
      gradients_(make_gradient_table(config.model), backend, plan.slots),
      window_(static_cast<size_t>(plan.context + 1)),
      tokens_(static_cast<size_t>(plan.micro_tokens())),
      targets_(static_cast<size_t>(plan.micro_tokens())),
      slot_losses_(static_cast<size_t>(plan.slots)) {}

StepResult TrainStep::compute(int64_t step, const SequenceSource& source) {
  const int64_t per_slot = plan_.micro_batches * plan_.micro_batch;
  const double targets = static_cast<double>(plan_.tokens());
  for (int64_t slot = 0; slot < plan_.slots; ++slot)
    slot_losses_[static_cast<size_t>(slot)] =
        accumulate_slot(step * plan_.sequences() + slot * per_slot, 1.0 / targets, source);

  ParamBuffer& gradients = gradients_.finish();
  if (config_.model.tied_embeddings)  // the head's share of the tied matrix, last row of the table
    backend_.add(gradients[table_.size()], gradients[table_.size() - 1]);

  StepResult result;
  result.loss = tree_sum(slot_losses_) / targets;
  result.grad_norm = gradient_norm(table_, gradients, backend_);
  return result;
}

void TrainStep::apply(double rate, const StepResult& result) {
  optimizer.update(backend_, parameters, gradients_.sum(), rate,
                   clip_factor(result.grad_norm, config_.optimizer.clip), updates++);
  refresh_weights();
}

StepResult TrainStep::run(int64_t step, double rate, const SequenceSource& source) {
  StepResult result = compute(step, source);
  result.skipped = !result.finite();
  if (!result.skipped) apply(rate, result);
  return result;
}

double TrainStep::accumulate_slot(int64_t first_sequence,
                                  double grad_scale,
                                  const SequenceSource& source) {
  ParamBuffer& gradients = gradients_.open();
  double loss = 0;
  for (int64_t micro = 0; micro < plan_.micro_batches; ++micro) {
    read_micro_batch(first_sequence + micro * plan_.micro_batch, source);
    loss += model_.forward_backward({plan_.micro_batch, plan_.context, tokens_, targets_},
                                    gradients, grad_scale);
  }
  gradients_.close();
  return loss;
}

void TrainStep::read_micro_batch(int64_t first_sequence, const SequenceSource& source) {
  for (int64_t i = 0; i < plan_.micro_batch; ++i) {
    source(static_cast<uint64_t>(first_sequence + i), window_);
    std::copy_n(window_.begin(), plan_.context, tokens_.begin() + i * plan_.context);
    std::copy_n(window_.begin() + 1, plan_.context, targets_.begin() + i * plan_.context);
  }
}

}  // namespace isoflop
