// Whether to start again, when, and on which hosts. Pure: no clock, no processes.
#pragma once
#include "launch/supervise/hosts.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

/// How an attempt ended, as far as the next one is concerned.
enum class Outcome {
  done,
  stopped,  // on request, saved
  refused,  // the same would happen again: bad input, a gate, divergence
  failed,
};

/// Of the starter's exit code and of what the ranks said they would end with.
struct Ending {
  Outcome outcome = Outcome::failed;
  int code = 0;  // for our own exit
};
Ending judge_ending(int starter_code, const std::vector<int>& rank_codes, bool anyone_met);

/// Failures in a row without a new checkpoint; progress renews them.
class RestartBudget {
 public:
  explicit RestartBudget(int most) : most_(most) {}
  /// Seconds to wait before the next start; none: give up.
  std::optional<double> after_failure(bool progress);
  int failures() const { return failures_; }
  int most() const { return most_; }

 private:
  int most_;
  int failures_ = 0;
};

/// The hosts of a run: those in use, and spares that take over before it shrinks.
class HostPool {
 public:
  /// The last `spares` of them are held back.
  HostPool(std::vector<Host> hosts, int spares);

  const std::vector<Host>& active() const { return active_; }
  const std::vector<Host>& spares() const { return spares_; }
  bool uses(const std::string& name) const;
  /// Out of use for good; a spare comes in when there is one. Its name, or empty.
  std::string drop(const std::string& name);
  /// A failure was this host's; `progress`: the run got on since the last one. True when it is the
  /// second in a row.
  bool blame(const std::string& name, bool progress);

 private:
  std::vector<Host> active_, spares_;
  std::map<std::string, int> blames_;
};

}  // namespace isoflop
