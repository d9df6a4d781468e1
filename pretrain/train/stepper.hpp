// Stepper: a run's steps, one after another, with everything that decides their bits: the data
// order, the schedule, the guard and the state that a checkpoint keeps. The trainer and `replay`
// both go by it.
#pragma once
#include "datasets/sampler.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/train/guard.hpp"
#include "pretrain/train/layer_stats.hpp"
#include "pretrain/train/run.hpp"
#include "report/trace.hpp"

#include <functional>
#include <optional>
#include <string>

namespace isoflop {

struct StepRecord {
  int64_t step = 0;  // counts from 1
  double rate = 0;
  StepResult result;  // nothing when the step was left out
  Verdict verdict;
};

/// As in metrics.jsonl: of every parameter, in table order. Collective; only the first rank of a
/// pipeline knows it.
std::string parameter_hash(TrainStep& step);

/// Fills the parameters of step 0, in host memory; empty = as the parameter table says.
using Initializer = std::function<void(ParamBuffer& parameters)>;

class Stepper {
 public:
  /// Borrows run, backend, trace, ranks and wire (TrainStep; null: none). Parameters are not set
  /// yet.
  Stepper(const Run& run,
          Backend& backend,
          Initializer initialize = {},
          Trace* trace = nullptr,
          Communicator* ranks = nullptr,
          Communicator* wire = nullptr);

  /// Step 0: initial parameters.
  void initialize();
  /// State and tensors of a checkpoint.
  void load(const CheckpointRef& checkpoint);
  /// Back to before a jump: to `checkpoint`, or to step 0 without one. What is left out from now on
  /// is remembered. DivergedError when it was one rewind too many.
  void rewind(const std::optional<CheckpointRef>& checkpoint, int64_t step);

  /// Takes the next step. When its fate is `rewind`, nothing has changed. Allocates nothing but the
  /// reason of a verdict.
  StepRecord next();
  /// Statistics of the parameters over the next step; null: none. Borrowed.
  void watch(LayerStats* stats) { stats_ = stats; }

  TrainState state;
  TrainStep& train_step() { return step_; }
  Guard& guard() { return guard_; }
  const Sampler& sampler() const { return sampler_; }

 private:
  const Run& run_;
  Backend& backend_;
  Initializer initialize_;
  Trace* trace_;
  Sampler sampler_;
  SequenceSource source_;
  TrainStep step_;
  Guard guard_;
  LayerStats* stats_ = nullptr;
};

}  // namespace isoflop
