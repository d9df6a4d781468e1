// Replay: steps of a run once more, compared with what the run recorded. A step is a function of
// (config, seed, step), so on the same kernels the bits are the same, or something is wrong with
// the machine, the data or the program.
#pragma once
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/train/stepper.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace isoflop {

struct ReplayReport {
  int64_t from = 0;        // step of the checkpoint; 0 = from the start
  int64_t step = 0;        // the last one computed: the one asked for, or the first that differs
  std::string difference;  // what differs first, with both values; empty: nothing
  int64_t compared = 0;    // values of the steps in between, too
  std::optional<double> loss, grad_norm;  // of `step`
  std::string hash;
};

/// Recomputes the steps after `from` up to `step` and compares each with RUN/metrics.jsonl. Nothing
/// is written. `newest` is the state of the run's newest checkpoint: which steps rewinds left out.
/// `initialize` fills step 0. `progress` is called after each step. UserError when nothing is
/// recorded of `step`.
ReplayReport replay(const Run& run,
                    Backend& backend,
                    const std::optional<CheckpointRef>& from,
                    const TrainState& newest,
                    const Initializer& initialize,
                    int64_t step,
                    const std::function<void(int64_t)>& progress);

}  // namespace isoflop
