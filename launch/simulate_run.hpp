// `launch --simulate`: a run's steps on ranks that are not there.
#pragma once
#include "launch/context.hpp"
#include "launch/train_run.hpp"

#include <string>

namespace isoflop {

struct SimulateOptions {
  int ranks = 0;
  std::string hardware;  // a name ("8x8xh100"), or a file that `bench comm --json` wrote
  std::string timeline;  // file for the steps' events; empty: none
};

/// Prints what a step would take, and the closed form (scaling/step_model.hpp) beside it. Reads the
/// data only as far as the model depends on it. UserError when the ranks do not fit the run or the
/// hardware.
ExitCode simulate_run(const TrainRequest& request,
                      const SimulateOptions& options,
                      const Context& context);

}  // namespace isoflop
