#include "pretrain/train/stepper.hpp"

#include "core/hash.hpp"
#include "ops/host_copy.hpp"

#include <array>
#include <cstring>
#include <utility>

namespace isoflop {

// The bytes of a whole ParamBuffer, gaps included.
std::string parameter_hash(TrainStep& step) {
  static constexpr std::array<std::byte, kAlignment> kZeros = {};
  Hasher hasher;
  step.visit_all(step.parameters, [&](size_t, View value) {
    hasher.update(value.data, value.bytes());
    hasher.update(kZeros.data(), Arena::aligned(value.bytes()) - value.bytes());
  });
  return hash_hex(hasher.digest());
}

Stepper::Stepper(const Run& run,
                 Backend& backend,
                 Initializer initialize,
                 Trace* trace,
                 Communicator* ranks,
                 Communicator* wire)
    : run_(run),
      backend_(backend),
      initialize_(std::move(initialize)),
      trace_(trace),
      sampler_(run.train, run.config.model.context, run.config.data.seed),
      source_([this](uint64_t sequence, std::span<int32_t> window) {
        const Trace::Span span(trace_, "data");
        sampler_.read(sequence, window);
      }),
      step_(run.config, run.batch, run.table, backend, ranks, wire),
      guard_(run.config.guard, state.guard) {
  step_.record(trace);
  state.seed = run.config.data.seed;
  state.slots = run.batch.slots;
}

void Stepper::initialize() {
  step_.fill_parameters([&](ParamBuffer& parameters) {
    const Sharding& sharding = step_.sharding();
    if (initialize_ && sharding.parted()) {
      ParamBuffer whole(run_.table, backend_.state_dtype(), "the parameters of all ranks");
      initialize_(whole);
      for (size_t i = 0; i < run_.table.size(); ++i)
        if (parameters[i]) take_part(whole[i], parameters[i], sharding.cut(run_.table, i));
    } else if (initialize_) {
      initialize_(parameters);
    } else {
      initialize_parameters(run_.table, run_.config.data.seed, parameters, sharding);
    }
  });
  for (ParamBuffer* moment : {&step_.optimizer.m, &step_.optimizer.v})
    backend_.zero(moment->flat());
  step_.updates = 0;
  step_.quantize(run_.schedule.quantizes(0));
}

void Stepper::load(const CheckpointRef& checkpoint) {
  step_.settle();
  const std::string what = "a checkpoint on its way to the device";
  HostCopy parameters(backend_, step_.parameters, what);
  HostCopy first_moments(backend_, step_.optimizer.m, what);
  HostCopy second_moments(backend_, step_.optimizer.v, what);
  state = load_checkpoint(checkpoint, run_.table, {&*parameters, &*first_moments, &*second_moments},
                          step_.sharding());
  for (HostCopy* copy : {&parameters, &first_moments, &second_moments}) copy->send();
  step_.updates = state.optimizer_step;
  step_.quantize(run_.schedule.quantizes(state.step));
  step_.refresh_weights();
}

void Stepper::rewind(const std::optional<CheckpointRef>& checkpoint, int64_t step) {
  const TrainState before = state;
  if (checkpoint) {
    load(*checkpoint);
  } else {
    state = TrainState();
    state.seed = before.seed;
    state.slots = before.slots;
    initialize();
  }
  state.config = before.config;
  state.kernel_plan = before.kernel_plan;
  guard_.rewind(step, before.guard);
}

StepRecord Stepper::next() {
  const Trace::Span span(trace_, "step");
  StepRecord record;
  record.step = state.step + 1;
  record.rate = run_.schedule.rate(state.step);
  if (guard_.leaves_out(record.step)) {
    record.verdict = {Fate::left_out, "left out after a rewind"};
  } else {
    // Nothing that the host has to see first: a device goes straight on to the update.
    const bool ahead = step_.decides_itself() && guard_.takes_all_finite() && !stats_;
    {
      const Trace::Span compute(trace_, "gradients");
      step_.start(state.step, source_);
      if (ahead) step_.apply_if_finite(record.rate);
      record.result = step_.result();
    }
    record.verdict = guard_.judge(record.step, record.result);
    if (record.verdict.fate == Fate::rewind) return record;
    if (record.verdict.fate == Fate::applied && !ahead) {
      const Trace::Span update(trace_, "optimizer");
      if (stats_) {
        step_.gather_gradients();
        stats_->before(step_.parameters, step_.gradients());
      }
      step_.apply(record.rate, record.result);
      if (stats_) {
        step_.settle();
        stats_->after(step_.parameters);
      }
    }
    state.tokens += run_.batch.tokens_at(state.step);
  }
  state.step = record.step;
  step_.quantize(run_.schedule.quantizes(state.step));
  state.optimizer_step = step_.updates;
  if (record.verdict.fate == Fate::applied) state.add_loss(record.result.loss);
  return record;
}

}  // namespace isoflop
