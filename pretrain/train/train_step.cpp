#include "pretrain/train/train_step.hpp"

#include "ops/host_copy.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

Sharding sharding_for(const ParamTable& table, const Communicator* ranks) {
  return ranks ? Sharding(table, ranks->size(), ranks->rank(), {}) : Sharding(table);
}

std::optional<WeightGrid> grid_for(const RunConfig& config, const ParamTable& table) {
  const GgufRecipe* recipe = find_grid_recipe(config.schedule.quantize);
  if (!recipe) return std::nullopt;
  return WeightGrid(*recipe, config.model, table);
}

}  // namespace

TrainStep::TrainStep(const RunConfig& config,
                     const BatchPlan& plan,
                     const ParamTable& table,
                     Backend& backend,
                     Communicator* ranks)
    : parameters(table, backend.state_dtype(), "parameters", allocator_of(backend)),
      optimizer(table, config.optimizer, backend, sharding_for(table, ranks)),
      config_(config),
      plan_(plan),
      table_(table),
      backend_(backend),
      sharding_(sharding_for(table, ranks)),
      slots_(slots_of(plan.slots, sharding_.rank(), sharding_.ranks())),
      grid_(grid_for(config, table)),
      rounded_(grid_
                   ? ParamBuffer(
                         table, backend.state_dtype(), "weights on the grid", allocator_of(backend))
                   : ParamBuffer()),
      model_(config.model,
             table,
             weights(),
             backend,
             {plan.micro_tokens(), parse_recompute(config.compute.recompute), true}),
      gradient_table_(make_gradient_table(config.model)),
      gradients_(gradient_table_, backend, plan.slots, slots_),
      arriving_(sharding_.buckets().size(), false),
      window_(static_cast<size_t>(plan.context + 1)),
      tokens_(static_cast<size_t>(plan.micro_tokens())),
      targets_(static_cast<size_t>(plan.micro_tokens())),
      slot_losses_(static_cast<size_t>(plan.slots)) {
  if (sharding_.ranks() == 1) return;
  ISOFLOP_CHECK(backend.in_host_memory(), "several ranks on devices with memory of their own");
  exchange_.emplace(*ranks, sharding_, table, gradient_table_, plan.slots, gradients_, parameters,
                    backend);
  model_.set_hooks(this);
}

void TrainStep::fill_parameters(const std::function<void(ParamBuffer&)>& fill) {
  settle();
  HostCopy copy(backend_, parameters, "parameters on their way to the device");
  fill(*copy);
  copy.send();
  refresh_weights();
}

StepResult TrainStep::compute(int64_t step, const SequenceSource& source) {
  const int64_t per_slot = plan_.micro_batches * plan_.micro_batch;
  const double targets = static_cast<double>(plan_.tokens());
  for (int64_t slot = slots_.first; slot < slots_.last; ++slot)
    slot_losses_[static_cast<size_t>(slot)] =
        accumulate_slot(slot, step * plan_.sequences() + slot * per_slot, 1.0 / targets, source);

  ParamBuffer& gradients = gradients_.finish();
  if (exchange_) exchange_->finish_gradients();
  if (config_.model
          .tied_embeddings) {  // the head's share of the tied matrix, last row of the table
    const RowRange rows = sharding_.rows(table_.size() - 1);
    backend_.add(rows_of(gradients[table_.size()], rows),
                 rows_of(gradients[table_.size() - 1], rows));
  }

  StepResult result;
  result.grad_norm = exchange_ ? gradient_norm(table_, exchange_->share_numbers(slot_losses_))
                               : gradient_norm(table_, gradients, backend_);
  result.loss = tree_sum(slot_losses_) / targets;
  return result;
}

void TrainStep::apply(double rate, const StepResult& result) {
  settle();
  optimizer.update(parameters, gradients_.sum(), rate,
                   clip_factor(result.grad_norm, config_.optimizer.clip), updates++);
  if (!exchange_) return refresh_weights();
  for (size_t b = sharding_.buckets().size(); b-- > 0;) {  // as the forward pass will ask for them
    exchange_->start_parameters(b);
    arriving_[b] = true;
  }
}

void TrainStep::quantize(bool on) {
  if (!grid_ || on == quantized_) return;
  settle();
  quantized_ = on;
  refresh_weights();
}

void TrainStep::refresh_weights(size_t first, size_t last) {
  if (grid_ && quantized_)
    grid_->round(backend_, parameters, rounded_, first, last);
  else if (grid_)
    for (size_t i = first; i < last; ++i) backend_.copy(parameters[i], rounded_[i]);
  model_.refresh_weights(first, last);
}

void TrainStep::settle() {
  for (const Bucket& bucket : sharding_.buckets()) before_forward(table_[bucket.first].stage_block);
}

size_t TrainStep::bucket_of(int block) const {
  size_t b = 0;
  while (table_[sharding_.buckets()[b].first].stage_block != block) ++b;
  return b;
}

void TrainStep::before_forward(int block) {
  const size_t b = bucket_of(block);
  if (!arriving_[b]) return;
  exchange_->finish_parameters(b);
  arriving_[b] = false;
  refresh_weights(sharding_.buckets()[b].first, sharding_.buckets()[b].last);
}

void TrainStep::after_backward(int block) {
  if (!leaving_) return;
  const size_t b = bucket_of(block);
  for (const ShardExchange::Span& span : exchange_->all_of(b))
    gradients_.close_piece(span.first, span.count);
  exchange_->start_gradients(b);
}

StepResult TrainStep::run(int64_t step, double rate, const SequenceSource& source) {
  StepResult result = compute(step, source);
  result.skipped = !result.finite();
  if (!result.skipped) apply(rate, result);
  return result;
}

double TrainStep::accumulate_slot(int64_t slot,
                                  int64_t first_sequence,
                                  double grad_scale,
                                  const SequenceSource& source) {
  ParamBuffer& gradients = gradients_.open();
  double loss = 0;
  for (int64_t micro = 0; micro < plan_.micro_batches; ++micro) {
    read_micro_batch(first_sequence + micro * plan_.micro_batch, source);
    leaving_ = exchange_ && slot + 1 == slots_.last && micro + 1 == plan_.micro_batches;
    loss += model_.forward_backward({plan_.micro_batch, plan_.context, tokens_, targets_},
                                    gradients, grad_scale);
  }
  leaving_ ? gradients_.pieces_closed() : gradients_.close();
  leaving_ = false;
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
