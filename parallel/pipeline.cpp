#include "parallel/pipeline.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <optional>

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

/// One direction between two neighbours.
struct Link {
  std::vector<double> sent, ready;  // when each message was sent, and its memory ready
  std::vector<double> arrived;
  double free = 0;

  std::optional<double> arrival(size_t n, const PipeCosts& costs) {
    while (arrived.size() <= n) {
      const size_t next = arrived.size();
      if (next >= sent.size() || next >= ready.size()) return {};
      free = std::max({free, sent[next], ready[next]}) + costs.message;
      arrived.push_back(free + costs.latency);
    }
    return arrived[n];
  }
};

struct Clock {
  double now = 0;
  size_t next = 0;                   // instruction
  size_t inputs = 0, gradients = 0;  // taken so far
};

class Simulation {
 public:
  Simulation(std::span<const PipeSchedule> stages, const PipeCosts& costs)
      : stages_(stages), costs_(costs), clocks_(stages.size()), down_(stages.size()), up_(down_) {}

  PipeTimeline run() {
    bool moved = true;
    while (moved) {
      moved = false;
      for (size_t stage = 0; stage < stages_.size(); ++stage)
        while (clocks_[stage].next < stages_[stage].size() && take(stage)) moved = true;
    }
    double busy = 0;
    for (size_t stage = 0; stage < stages_.size(); ++stage) {
      const Clock& clock = clocks_[stage];
      if (clock.next < stages_[stage].size()) {
        const PipeInstruction& stuck = stages_[stage][clock.next];
        ISOFLOP_CHECK(false, "the pipeline is stuck: stage {} waits with {} of micro-batch {}",
                      stage, name_of(stuck.op), stuck.micro);
      }
      timeline_.seconds = std::max(timeline_.seconds, clock.now);
    }
    for (const PipeEvent& event : timeline_.events) busy += event.end - event.start;
    const double all = timeline_.seconds * static_cast<double>(stages_.size());
    timeline_.bubble = all > 0 ? 1 - busy / all : 0;
    std::stable_sort(timeline_.events.begin(), timeline_.events.end(),
                     [](const PipeEvent& a, const PipeEvent& b) { return a.end < b.end; });
    return std::move(timeline_);
  }

 private:
  /// False when the next instruction of the stage cannot be taken yet.
  bool take(size_t stage) {
    Clock& clock = clocks_[stage];
    const PipeInstruction& what = stages_[stage][clock.next];
    switch (what.op) {
      case PipeOp::receive_input:
        down_[stage].ready.push_back(clock.now);
        break;
      case PipeOp::receive_gradient:
        up_[stage].ready.push_back(clock.now);
        break;
      case PipeOp::forward:
        if (!compute(stage, what, stage > 0 ? &down_[stage] : nullptr, clock.inputs,
                     costs_.forward[stage]))
          return false;
        break;
      case PipeOp::backward:
        if (!compute(stage, what, stage + 1 < stages_.size() ? &up_[stage] : nullptr,
                     clock.gradients, costs_.backward[stage]))
          return false;
        break;
      case PipeOp::send_output:
        if (!send(clock, down_[stage + 1])) return false;
        break;
      case PipeOp::send_gradient:
        if (!send(clock, up_[stage - 1])) return false;
        break;
    }
    ++clock.next;
    return true;
  }

  bool compute(
      size_t stage, const PipeInstruction& what, Link* link, size_t& taken, double seconds) {
    Clock& clock = clocks_[stage];
    double start = clock.now;
    if (link) {
      const std::optional<double> arrival = link->arrival(taken, costs_);
      if (!arrival) return false;
      start = std::max(start, *arrival);
      ++taken;
    }
    clock.now = start + seconds;
    timeline_.events.push_back({static_cast<int>(stage), what, start, clock.now});
    return true;
  }

  /// The memory of the message kPipeBuffers before must be free again.
  bool send(Clock& clock, Link& link) {
    if (link.sent.size() >= kPipeBuffers) {
      const std::optional<double> gone = link.arrival(link.sent.size() - kPipeBuffers, costs_);
      if (!gone) return false;
      clock.now = std::max(clock.now, *gone - costs_.latency);
    }
    link.sent.push_back(clock.now);
    return true;
  }

  std::span<const PipeSchedule> stages_;
  const PipeCosts& costs_;
  std::vector<Clock> clocks_;
  std::vector<Link> down_, up_;  // into a stage: from before, from behind
  PipeTimeline timeline_;
};

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
  return Simulation(stages, costs).run();
}

}  // namespace isoflop
