// A Slurm job that runs `isoflop launch` and survives time limits and preemption: Slurm's early
// signal makes the ranks save and leave with 75, and the job queues itself again.
#pragma once
#include "core/file.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct SlurmJob {
  std::string name;
  int ranks = 1;
  int nodes = 1;
  double grace = 120;              // seconds before the end of the time that Slurm signals
  std::vector<std::string> flags;  // further #SBATCH lines: "--time=24:00:00"
  fs::path run;
  std::string folder;                     // where the job starts
  std::vector<std::string> first_words;   // the program and its arguments, of the first start
  std::vector<std::string> resume_words;  // once the run has begun
};

/// The script for sbatch.
std::string slurm_script(const SlurmJob& job);

}  // namespace isoflop
