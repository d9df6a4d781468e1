#include "parallel/pipeline_clock.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <optional>

namespace isoflop {

namespace {

struct Wire {  // seconds
  double message = 0, latency = 0;
};

/// One direction between two neighbours.
struct Link {
  std::vector<double> sent, ready;  // when each message was sent, and its memory ready
  std::vector<double> arrived;
  double free = 0;

  std::optional<double> arrival(size_t n, const Wire& wire) {
    while (arrived.size() <= n) {
      const size_t next = arrived.size();
      if (next >= sent.size() || next >= ready.size()) return {};
      free = std::max({free, sent[next], ready[next]}) + wire.message;
      arrived.push_back(free + wire.latency);
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
  Simulation(std::span<const PipeSchedule> stages,
             std::span<const double> starts,
             Wire wire,
             const PipeDuration& ends)
      : stages_(stages),
        wire_(wire),
        ends_(ends),
        clocks_(stages.size()),
        down_(stages.size()),
        up_(down_) {
    for (size_t stage = 0; stage < stages.size(); ++stage) clocks_[stage].now = starts[stage];
  }

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
        if (!compute(stage, what, stage > 0 ? &down_[stage] : nullptr, clock.inputs)) return false;
        break;
      case PipeOp::backward:
        if (!compute(stage, what, stage + 1 < stages_.size() ? &up_[stage] : nullptr,
                     clock.gradients))
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

  bool compute(size_t stage, const PipeInstruction& what, Link* link, size_t& taken) {
    Clock& clock = clocks_[stage];
    double start = clock.now;
    if (link) {
      const std::optional<double> arrival = link->arrival(taken, wire_);
      if (!arrival) return false;
      start = std::max(start, *arrival);
      ++taken;
    }
    clock.now = ends_(static_cast<int>(stage), what, start);
    timeline_.events.push_back({static_cast<int>(stage), what, start, clock.now});
    return true;
  }

  /// The memory of the message kPipeBuffers before must be free again.
  bool send(Clock& clock, Link& link) {
    if (link.sent.size() >= kPipeBuffers) {
      const std::optional<double> gone = link.arrival(link.sent.size() - kPipeBuffers, wire_);
      if (!gone) return false;
      clock.now = std::max(clock.now, *gone - wire_.latency);
    }
    link.sent.push_back(clock.now);
    return true;
  }

  std::span<const PipeSchedule> stages_;
  Wire wire_;
  const PipeDuration& ends_;
  std::vector<Clock> clocks_;
  std::vector<Link> down_, up_;  // into a stage: from before, from behind
  PipeTimeline timeline_;
};

}  // namespace

PipeTimeline run_pipeline_clock(std::span<const PipeSchedule> stages,
                                std::span<const double> starts,
                                double message,
                                double latency,
                                const PipeDuration& ends) {
  ISOFLOP_CHECK(starts.size() == stages.size(), "{} stages start {} times", stages.size(),
                starts.size());
  return Simulation(stages, starts, {message, latency}, ends).run();
}

}  // namespace isoflop
