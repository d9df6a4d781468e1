// A training step by a clock, without devices: the pipeline's instruction lists, the buckets of the
// sharding and the subtrees of the slots are those that training goes by; only computing and
// messages are replaced by the time they would take.
//
// A computation takes its FLOPs at the rank's rate, less what the step's messages take of it, all
// through the step alike; a bucket's messages their bytes at the wires'
// speed: a rank sends and receives at the same time, one bucket after another, and what stays on
// the host goes beside what leaves it. A bucket has arrived when the last of the ranks that owe a
// part of it has sent it.
#pragma once
#include "report/timeline.hpp"
#include "scaling/step_model.hpp"

#include <vector>

namespace isoflop {

struct SimulatedStep {
  double seconds = 0;  // from the end of the step before to the end of this one, at the last rank
  double compute = 0;  // of the mean rank, without the optimizer; messages' part included
  double optimizer = 0;
  double bubble = 0;   // part of the step in which the mean rank waits for its pipeline
  double wire = 0;     // seconds in which gradients or parameters of the mean rank are on the way
  double exposed = 0;  // seconds in which the mean rank waits for them
  std::vector<TimelineEvent> events;  // of all steps that were simulated

  double hidden() const { return wire > 0 ? 1 - exposed / wire : 1; }
};

/// Rows of the events.
extern const std::vector<std::string> kSimulatedRows;

/// Steps follow each other until one is like the next: the last of `steps`. `table` is that of
/// whole parameters. Of ranks that share cores each goes as if it were alone there; where their
/// cores need longer than that, nobody is seen to wait, and the events are drawn out.
SimulatedStep simulate_steps(const StepWork& work,
                             const ParamTable& table,
                             const RankSpeed& speed,
                             const Wires& wires,
                             int steps = 3);

}  // namespace isoflop
