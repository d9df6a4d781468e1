// A pipeline's schedules by a clock, where a computation may take as long as it likes: what
// simulate_pipeline and whole simulated steps (scaling/simulate.hpp) have in common.
#pragma once
#include "parallel/pipeline.hpp"

#include <functional>
#include <span>

namespace isoflop {

/// When a computation of a stage ends that may begin at `start`. Called once for each, in the order
/// of the stage's schedule.
using PipeDuration =
    std::function<double(int stage, const PipeInstruction& computation, double start)>;

/// `starts`: when each stage begins, `message` and `latency` as in PipeCosts. The timeline's
/// seconds and bubble count from 0. InternalError when nobody can go on.
PipeTimeline run_pipeline_clock(std::span<const PipeSchedule> stages,
                                std::span<const double> starts,
                                double message,
                                double latency,
                                const PipeDuration& ends);

}  // namespace isoflop
