// Sweeps: the same run many times with other values, as many trials at once as there are cores,
// each trial on threads and a backend of its own. Every finished trial is a row of DIR/sweep.csv at
// once, and a sweep that is started again runs what is missing. Trials are whole runs in memory:
// no checkpoints, no run folders.
#pragma once
#include "core/file.hpp"
#include "launch/context.hpp"
#include "launch/sweep_plan.hpp"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace isoflop {

/// Held-out tokens that a trial is judged by.
inline constexpr uint64_t kTrialValidTokens = 65536;

struct SweepRequest {
  std::optional<fs::path> file;
  std::vector<std::string> overrides;   // key=value
  std::vector<std::string> over;        // --over, see SweepAxis
  std::string search = "grid";          // grid | random | halving
  std::vector<int64_t> widths, depths;  // empty: the run's own
  int64_t seeds = 1;
  int64_t trials = 0;  // settings to draw for each model; 0 = the grid
  int64_t eta = 2;     // halving: one of so many goes on, so many times longer
  int jobs = 0;        // trials at once; 0 = cores / compute.threads
  std::string out;     // folder; empty = runs/NAME-sweep
  bool dry_run = false;
};

struct SweepOutcome {
  ExitCode code = ExitCode::kDone;
  SweepTable table;  // this sweep's trials and what was in the folder before
  fs::path folder;
  RunConfig base;    // as loaded
  Origins origins;   // of it
  double flops = 0;  // of all trials of the plan
  int64_t trials = 0;
};

/// States trials and FLOPs, runs what is missing. UserError before the first trial for whatever
/// cannot be; a stop request ends with its code after the table is written. A trial whose loss or
/// gradient is not finite ends as diverged.
SweepOutcome run_sweep(const SweepRequest& request, const Context& context);

/// The optimum of each key in each group of the table, printed; also written to `folder`/optima.csv
/// where a key has one: parameters, tokens, flops, loss (of the curve at the optimum),
/// parametrization, width, layers, steps, key, value, low, high, edge, trials, diverged.
nlohmann::ordered_json report_optima(const SweepTable& table,
                                     const fs::path& folder,
                                     const Context& context);

}  // namespace isoflop
