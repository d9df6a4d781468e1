#include "parallel/pipeline.hpp"

#include "core/error.hpp"
#include "parallel/pipeline_clock.hpp"

#include <algorithm>

namespace isoflop {

namespace {

/// Puts the messages around computations: what the next one needs is made ready before this one.
PipeSchedule with_messages(const PipeSchedule& computations, int stage, int stages) {
  const bool first = stage == 0, last = stage == stages - 1;
  PipeSchedule schedule;
  const auto receive_for = [&](const PipeInstruction& next) {
    if (next.op == PipeOp::forward && !first)
      schedule.push_back({PipeOp::receive_input, next.micro});
    if (next.op == PipeOp::backward && !last)
      schedule.push_back({PipeOp::receive_gradient, next.micro});
  };
  for (size_t i = 0; i < computations.size(); ++i) {
    const PipeInstruction& now = computations[i];
    if (i == 0) receive_for(now);
    if (i + 1 < computations.size()) receive_for(computations[i + 1]);
    schedule.push_back(now);
    if (now.op == PipeOp::forward && !last) schedule.push_back({PipeOp::send_output, now.micro});
    if (now.op == PipeOp::backward && !first)
      schedule.push_back({PipeOp::send_gradient, now.micro});
  }
  return schedule;
}

}  // namespace

std::string_view name_of(PipeOp op) {
  switch (op) {
    case PipeOp::receive_input:
      return "receive input";
    case PipeOp::forward:
      return "forward";
    case PipeOp::send_output:
      return "send output";
    case PipeOp::receive_gradient:
      return "receive gradient";
    case PipeOp::backward:
      return "backward";
    case PipeOp::send_gradient:
      return "send gradient";
  }
  return "";
}

PipeSchedule one_forward_one_backward(int stage, int stages, int64_t micro_batches) {
  const int64_t ahead = std::min<int64_t>(stages - 1 - stage, micro_batches);
  PipeSchedule computations;
  for (int64_t micro = 0; micro < ahead; ++micro) computations.push_back({PipeOp::forward, micro});
  for (int64_t micro = 0; micro < micro_batches; ++micro) {
    if (micro + ahead < micro_batches) computations.push_back({PipeOp::forward, micro + ahead});
    computations.push_back({PipeOp::backward, micro});
  }
  return with_messages(computations, stage, stages);
}

PipeSchedule forward_only(int stage, int stages, int64_t micro_batches) {
  PipeSchedule computations;
  for (int64_t micro = 0; micro < micro_batches; ++micro)
    computations.push_back({PipeOp::forward, micro});
  return with_messages(computations, stage, stages);
}

int64_t most_in_flight(const PipeSchedule& schedule) {
  int64_t now = 0, most = 0;
  for (const PipeInstruction& instruction : schedule) {
    if (instruction.op == PipeOp::forward) most = std::max(most, ++now);
    if (instruction.op == PipeOp::backward) --now;
  }
  return most;
}

double bubble_share(int stages, int64_t micro_batches) {
  const double idle = stages - 1;
  return idle / (static_cast<double>(micro_batches) + idle);
}

BlockRange blocks_of_stage(int64_t blocks, int stage, int stages) {
  if (stages > blocks)
    fail_user("{} pipeline stages need as many blocks, and the model has {}; lower parallel.pp",
              stages, blocks);
  return {blocks * stage / stages, blocks * (stage + 1) / stages};
}

int stage_of_block(int64_t block, int64_t blocks, int stages) {
  int stage = 0;
  while (stage + 1 < stages && block >= blocks_of_stage(blocks, stage, stages).last) ++stage;
  return stage;
}

PipeTimeline simulate_pipeline(std::span<const PipeSchedule> stages, const PipeCosts& costs) {
  ISOFLOP_CHECK(costs.forward.size() == stages.size() && costs.backward.size() == stages.size(),
                "costs of {} stages for {}", costs.forward.size(), stages.size());
  const std::vector<double> at_once(stages.size(), 0);
  return run_pipeline_clock(
      stages, at_once, costs.message, costs.latency,
      [&](int stage, const PipeInstruction& what, double start) {
        const bool forward = what.op == PipeOp::forward;
        return start + (forward ? costs.forward : costs.backward)[static_cast<size_t>(stage)];
      });
}

}  // namespace isoflop
