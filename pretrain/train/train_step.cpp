#include "pretrain/train/train_step.hpp"

#include "ops/host_copy.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

Sharding sharding_for(const RunConfig& config, const ParamTable& table, const Communicator* ranks) {
  if (!ranks) return Sharding(table);
  return Sharding(table, ProcessGrid(grid_shape(config, ranks->size()), ranks->rank()));
}

std::optional<TensorParallel> parts_for(const BatchPlan& plan,
                                        const ModelConfig& model,
                                        const ProcessGrid& grid,
                                        Backend& backend,
                                        Communicator* ranks) {
  if (grid.shape().tp == 1) return std::nullopt;
  return std::optional<TensorParallel>(std::in_place, grid.split_tp(*ranks), backend,
                                       plan.micro_tokens(), model.d_model);
}

SlotRange slots_for(const BatchPlan& plan, const ProcessGrid& grid) {
  return slots_of(plan.slots, grid.place().dp, grid.shape().dp);
}

PipeSchedule schedule_for(const BatchPlan& plan, int64_t micro_batches, const ProcessGrid& grid) {
  return one_forward_one_backward(grid.place().pp, grid.shape().pp,
                                  slots_for(plan, grid).size() * micro_batches);
}

std::optional<WeightGrid> grid_for(const RunConfig& config,
                                   const ParamTable& table,
                                   const ProcessGrid& ranks) {
  const GgufRecipe* recipe = find_grid_recipe(config.schedule.quantize);
  if (!recipe) return std::nullopt;
  return WeightGrid(*recipe, config.model, table, ranks.place().tp, ranks.shape().tp);
}

}  // namespace

std::vector<bool> held_parameters(const ModelConfig& model, const Sharding& sharding) {
  std::vector<bool> holds = sharding.stage_holds();
  if (model.tied_embeddings && sharding.grid().last_stage()) holds.back() = true;
  return holds;
}

std::vector<bool> held_gradients(const ModelConfig& model, const Sharding& sharding) {
  std::vector<bool> holds = sharding.stage_holds();
  if (model.tied_embeddings) holds.push_back(sharding.grid().last_stage());
  return holds;
}

BlockShape block_shape(const RunConfig& config, const BatchPlan& plan, const ProcessGrid& grid) {
  return {.tokens = plan.micro_tokens(),
          .recompute = parse_recompute(config.compute.recompute),
          .training = true,
          .stage = blocks_of_stage(config.model.layers, grid.place().pp, grid.shape().pp),
          .in_flight = most_in_flight(schedule_for(plan, plan.micro_batches, grid)),
          .part = grid.place().tp,
          .parts = grid.shape().tp};
}

GridShape grid_shape(const RunConfig& config, int ranks) {
  const ParallelConfig& parallel = config.parallel;
  const GridShape shape =
      fit_grid(ranks, static_cast<int>(parallel.tp), static_cast<int>(parallel.pp));
  require_parts(config);
  return shape;
}

TrainStep::TrainStep(const RunConfig& config,
                     const BatchPlan& plan,
                     const ParamTable& table,
                     Backend& backend,
                     Communicator* ranks,
                     Communicator* wire)
    : sharding_(sharding_for(config, table, ranks)),
      part_model_(
          part_of_model(config.model, sharding_.grid().place().tp, sharding_.grid().shape().tp)),
      part_table_(sharding_.part_of_table(table)),
      parameters(part_table_,
                 backend.state_dtype(),
                 "parameters",
                 held_parameters(config.model, sharding_),
                 allocator_of(backend)),
      optimizer(table, config.optimizer, backend, sharding_, config.data.seed),
      config_(config),
      plan_(plan),
      table_(table),
      backend_(backend),
      slots_(slots_for(plan, sharding_.grid())),
      schedule_(schedule_for(plan, plan.micro_batches, sharding_.grid())),
      micro_batches_(plan.micro_batches),
      in_flight_(most_in_flight(schedule_)),
      ranks_(ranks),
      parts_(parts_for(plan, config.model, sharding_.grid(), backend, ranks)),
      grid_(grid_for(config, table, sharding_.grid())),
      rounded_(grid_ ? ParamBuffer(part_table_,
                                   backend.state_dtype(),
                                   "weights on the grid",
                                   held_parameters(config.model, sharding_),
                                   allocator_of(backend))
                     : ParamBuffer()),
      model_(part_model_,
             part_table_,
             weights(),
             backend,
             block_shape(config, plan, sharding_.grid()),
             {},
             parts_ ? &*parts_ : nullptr),
      gradient_table_(make_gradient_table(part_model_)),
      gradients_(
          gradient_table_, backend, plan.slots, slots_, held_gradients(config.model, sharding_)),
      arriving_(sharding_.buckets().size(), false),
      window_(static_cast<size_t>(plan.context + 1)),
      tokens_(static_cast<size_t>(plan.micro_tokens())),
      targets_(static_cast<size_t>(plan.micro_tokens())),
      slot_losses_(static_cast<size_t>(plan.slots)) {
  const ProcessGrid& grid = sharding_.grid();
  if (sharding_.ranks() > 1) {
    ISOFLOP_CHECK(wire || backend.in_host_memory(), "nobody moves what lies in a device's memory");
    if (grid.shape().pp > 1)
      links_.emplace(grid.split_pp(*ranks), wire ? grid.split_pp(*wire) : nullptr, backend,
                     block_shape(config, plan, grid).largest_slice(), config.model.d_model,
                     backend.activation_dtype());
    exchange_.emplace(*ranks, wire ? *wire : *ranks, sharding_, part_table_, gradient_table_,
                      plan.slots, gradients_, parameters, backend);
    squares_.resize(static_cast<size_t>(exchange_->own_chunks()));
    model_.set_hooks(this);
  }
  if (!backend.keeps_numbers()) return;
  const int64_t numbers = plan.slots + (exchange_ ? exchange_->own_chunks() : 2);
  numbers_memory_ = backend.allocate(static_cast<size_t>(numbers) * sizeof(double), "numbers");
  numbers_ = make_view(numbers_memory_.data(), DType::f64, 1, numbers);
}

void TrainStep::fill_parameters(const std::function<void(ParamBuffer&)>& fill) {
  settle();
  HostCopy copy(backend_, parameters, "parameters on their way to the device");
  fill(*copy);
  copy.send();
  refresh_weights();
}

/// Follows the batch as it grows.
void TrainStep::begin(int64_t step) {
  read_first_ = ~uint64_t{0};
  step_tokens_ = static_cast<double>(plan_.tokens_at(step));
  const int64_t micro_batches = plan_.micro_batches_at(step);
  if (micro_batches == micro_batches_) return;
  micro_batches_ = micro_batches;
  schedule_ = schedule_for(plan_, micro_batches, sharding_.grid());
}

void TrainStep::start(int64_t step, const SequenceSource& source) {
  begin(step);
  applied_ = false;
  if (numbers_) backend_.zero(numbers_);
  for (const PipeInstruction& instruction : schedule_) carry_out(instruction, step, source);

  ParamBuffer& gradients = gradients_.finish();
  if (exchange_)
    exchange_->finish_gradients();
  else if (config_.model.tied_embeddings)  // the head's share is the last row of the table
    backend_.add(gradients[table_.size()], gradients[table_.size() - 1]);

  if (!numbers_) return;
  if (exchange_)
    backend_.chunk_squares(exchange_->counted(),
                           numbers_.columns(plan_.slots, exchange_->own_chunks()));
  else
    backend_.step_numbers({.gradients = gradients.views().first(table_.size()),
                           .numbers = numbers_,
                           .clip = config_.optimizer.clip});
  backend_.fetch(numbers_);
}

StepResult TrainStep::result() {
  StepResult result;
  const View numbers = numbers_ ? backend_.fetched() : View{};
  if (numbers) std::copy_n(numbers.as<double>(), slot_losses_.size(), slot_losses_.begin());
  if (exchange_) {
    if (numbers)
      std::copy_n(numbers.as<double>() + plan_.slots, squares_.size(), squares_.begin());
    else
      backend_.chunk_squares(exchange_->counted(),
                             make_view(squares_.data(), 1, exchange_->own_chunks()));
    const std::span<const double> all = exchange_->share_numbers(slot_losses_, squares_);
    result.grad_norm = gradient_norm(exchange_->chunks(), all, backend_);
  } else if (numbers) {
    result.grad_norm = std::sqrt(load_scalar(StepNumbers::squares(numbers), 0, 0));
  } else {
    result.grad_norm = gradient_norm(table_, gradients_.sum(), backend_);
  }
  result.loss = tree_sum(slot_losses_) / step_tokens_;
  if (applied_ && result.finite()) ++updates;
  return result;
}

void TrainStep::carry_out(const PipeInstruction& instruction,
                          int64_t step,
                          const SequenceSource& source) {
  const int64_t micro = instruction.micro;
  switch (instruction.op) {
    case PipeOp::receive_input:
      return links_->receive_input(slice_of(plan_.micro_tokens()));
    case PipeOp::receive_gradient:
      return links_->receive_gradient(slice_of(plan_.micro_tokens()));
    case PipeOp::send_output:
      return links_->send_output(output_);
    case PipeOp::send_gradient:
      return links_->send_gradient(model_.input_gradient());
    case PipeOp::forward:
      return forward(micro, step, source);
    case PipeOp::backward:
      return backward(micro, step, source);
  }
}

void TrainStep::forward(int64_t micro, int64_t step, const SequenceSource& source) {
  const View input = links_ ? links_->take_input() : View{};
  const Trace::Span span(trace_, "forward", Trace::Row::model);
  output_ = model_.forward_stage(micro % in_flight_, micro_batch(micro, step, source), input);
}

/// Micro-batches come in order on every stage, so a slot's gradients add up as on a single rank.
void TrainStep::backward(int64_t micro, int64_t step, const SequenceSource& source) {
  const int64_t of_slot = micro % micro_batches_;
  const int64_t slot = slots_.first + micro / micro_batches_;
  const bool first = of_slot == 0, last = of_slot + 1 == micro_batches_;
  double& loss = slot_losses_[static_cast<size_t>(slot)];
  if (first) loss = 0;
  ParamBuffer& gradients = first ? gradients_.open() : gradients_.newest();
  leaving_ = exchange_ && last && slot + 1 == slots_.last;
  const View gradient = links_ ? links_->take_gradient() : View{};
  const Trace::Span span(trace_, "backward", Trace::Row::model);
  loss += model_.backward_stage(micro % in_flight_, micro_batch(micro, step, source), gradients,
                                1.0 / step_tokens_, gradient,
                                numbers_ ? numbers_.columns(slot, 1) : View{});
  if (last) leaving_ ? gradients_.pieces_closed() : gradients_.close();
  leaving_ = false;
}

double TrainStep::evaluate(const Batch& batch) {
  const Trace::Span span(trace_, "forward", Trace::Row::model);
  if (!links_) return model_.evaluate(batch);
  const int64_t tokens = batch.sequences * batch.length;
  if (!model_.embeds()) links_->receive_input(slice_of(tokens));
  const View output = model_.forward_stage(0, batch, links_->take_input());
  if (!model_.predicts()) links_->send_output(output);
  return model_.score_stage(batch);
}

void TrainStep::apply(double rate, const StepResult& result) {
  settle();
  const double clip = clip_factor(result.grad_norm, config_.optimizer.clip);
  for (size_t b = sharding_.buckets().size(); b-- > 0;) {  // as the forward pass will ask for them
    const Bucket& bucket = sharding_.buckets()[b];
    optimizer.update(bucket, parameters, gradients_.sum(), rate, clip, updates);
    if (!exchange_) {
      refresh_weights(bucket.first, bucket.last);
    } else if (exchange_->takes_part(b)) {
      exchange_->start_parameters(b);  // on their way while the rest is updated
      arriving_[b] = true;
    }
  }
  ++updates;
}

void TrainStep::apply_if_finite(double rate) {
  optimizer.update(parameters, gradients_.sum(), rate, 1, updates, StepNumbers::factor(numbers_));
  applied_ = true;
  refresh_weights();
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
    for (size_t i = first; i < last; ++i) {
      if (parameters[i]) backend_.copy(parameters[i], rounded_[i]);
    }
  model_.refresh_weights(first, last);
}

void TrainStep::settle() {
  for (size_t b = 0; b < arriving_.size(); ++b) settle(b);
}

void TrainStep::settle(size_t b) {
  if (!arriving_[b]) return;
  exchange_->finish_parameters(b);
  arriving_[b] = false;
  refresh_weights(sharding_.buckets()[b].first, sharding_.buckets()[b].last);
}

TrainStep::BucketRange TrainStep::buckets_of(int block) const {
  const std::vector<Bucket>& buckets = sharding_.buckets();
  const auto block_of = [&](size_t b) { return table_[buckets[b].first].stage_block; };
  size_t first = 0;
  while (block_of(first) != block) ++first;
  size_t last = first + 1;
  while (last < buckets.size() && block_of(last) == block) ++last;
  return {first, last};
}

void TrainStep::before_forward(int block) {
  const BucketRange buckets = buckets_of(block);
  for (size_t b = buckets.last; b-- > buckets.first;) settle(b);
  if (block == config_.model.layers && exchange_->has_copy_of_tied())
    settle(arriving_.size() - 1);  // the head is the first stage's table
}

void TrainStep::after_feed_forward(int block) {
  send_gradients(buckets_of(block).first);
}

/// Of a block the first half has left.
void TrainStep::after_backward(int block) {
  send_gradients(buckets_of(block).last - 1);
}

void TrainStep::send_gradients(size_t b) {
  if (!leaving_) return;
  for (const ShardExchange::Span& span : exchange_->all_of(b))
    gradients_.close_piece(span.first, span.count);
  exchange_->start_gradients(b);
}

StepResult TrainStep::run(int64_t step, double rate, const SequenceSource& source) {
  start(step, source);
  if (decides_itself()) apply_if_finite(rate);
  StepResult result = this->result();
  result.skipped = !result.finite();
  if (!result.skipped && !applied_) apply(rate, result);
  return result;
}

/// The n-th micro-batch of our slots. Read again for the backward pass when others came between.
Batch TrainStep::micro_batch(int64_t micro, int64_t step, const SequenceSource& source) {
  const int64_t per_slot = micro_batches_ * plan_.micro_batch;
  const auto first = static_cast<uint64_t>(plan_.first_sequence(step) + slots_.first * per_slot +
                                           micro * plan_.micro_batch);
  for (int64_t i = 0; i < plan_.micro_batch && first != read_first_; ++i) {
    source(first + static_cast<uint64_t>(i), window_);
    std::copy_n(window_.begin(), plan_.context, tokens_.begin() + i * plan_.context);
    std::copy_n(window_.begin() + 1, plan_.context, targets_.begin() + i * plan_.context);
  }
  read_first_ = first;
  return {plan_.micro_batch, plan_.context, tokens_, targets_};
}

WireTotals TrainStep::wire_totals() const {
  if (!exchange_) return {};
  WireTotals totals = exchange_->wire_totals();
  if (links_) totals = totals + links_->wire_totals();
  if (parts_) totals = totals + parts_->wire_totals();
  return totals;
}

void TrainStep::visit_all(const ParamBuffer& ours,
                          const std::function<void(size_t param, View value)>& visit) {
  settle();
  read_on_host(backend_, ours, [&](const ParamBuffer& here) { visit_on_host(here, visit); });
}

void TrainStep::visit_on_host(const ParamBuffer& ours,
                              const std::function<void(size_t param, View value)>& visit) {
  const bool collects = !ranks_ || ranks_->is_root();
  for (size_t i = 0; i < table_.size(); ++i) {
    if (collects && ours[i] && sharding_.cut(table_, i).whole()) {
      visit(i, ours[i]);
      continue;
    }
    const ParamBuffer one(collects ? ParamTable{table_[i]} : ParamTable{}, ours.flat().dtype,
                          "a parameter of other ranks");
    collect(i, ours, collects ? one[0] : View{});
    if (collects) visit(i, one[0]);
  }
}

/// From the first copy's ranks of its stage to the first rank, which puts the parts together.
void TrainStep::collect(size_t i, const ParamBuffer& ours, View whole) {
  const ProcessGrid& grid = sharding_.grid();
  const int parts = table_[i].placement == Placement::replicated ? 1 : grid.shape().tp;
  for (int part = 0; part < parts; ++part) {
    const int owner = grid.rank_at({.dp = 0, .tp = part, .pp = sharding_.stage_of(i)});
    const bool owns = owner == grid.rank();
    if (!owns && !whole) continue;
    if (owns && !whole) {
      const Message to[] = {{0, ours[i].data, ours[i].bytes()}};
      ranks_->exchange(to, {});
      continue;
    }
    const TensorCut cut = sharding_.cut(table_, i, owner);
    if (owns) {
      put_part(ours[i], whole, cut);
      continue;
    }
    const ParamBuffer arrived({cut_spec(table_[i], part, grid.shape().tp)}, ours.flat().dtype,
                              "a part of a parameter of another rank");
    const Message from[] = {{owner, arrived[0].data, arrived[0].bytes()}};
    ranks_->exchange({}, from);
    put_part(arrived[0], whole, cut);
  }
}

}  // namespace isoflop
