// The command line that starts the ranks: mpirun's, srun's inside a Slurm job, or our own
// (self_starter.hpp).
#pragma once
#include "launch/supervise/hosts.hpp"

#include <string>
#include <utility>
#include <vector>

namespace isoflop {

struct CommandLine {
  std::vector<std::pair<std::string, std::string>> environment;  // on top of ours
  std::vector<std::string> words;

  /// As one would type it into a shell.
  std::string text() const;
};

struct RankPlaces {
  enum class Starter { mpirun, srun, self } starter = Starter::mpirun;
  int ranks = 1;
  std::vector<Host> hosts;      // empty: this machine, or the nodes of the Slurm job
  std::string remote_shell;     // reaches a host: `SHELL HOST COMMAND`; empty: ssh
  std::string network;          // "10.0.0.0/8" or an interface; empty: the ranks find one
  bool oversubscribed = false;  // more ranks than slots on purpose
  bool root = false;
  std::vector<std::string> slurm_flags;

  bool remote() const { return !hosts.empty(); }
};

/// `exports` reach every rank by name, not on a command line that others can read.
CommandLine start_line(const RankPlaces& placement,
                       const std::vector<std::string>& program,
                       const std::vector<std::pair<std::string, std::string>>& exports);

/// `SHELL HOST COMMAND`, which runs these words on a host. On this machine, and where no remote
/// shell was asked for, the words themselves.
std::vector<std::string> words_on(const RankPlaces& placement,
                                  const std::string& host,
                                  const std::vector<std::string>& words);

/// The word as a shell takes it.
std::string shell_quoted(const std::string& word);

}  // namespace isoflop
