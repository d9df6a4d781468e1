// A program started by the supervisor: in a process group of its own, which can be ended as a
// whole, and killed by the kernel when the supervisor dies, however that happens.
#pragma once
#include "launch/supervise/command_lines.hpp"

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

class Child {
 public:
  /// Started with `input` on standard input, which ends no sooner than this object or our process;
  /// without input there is nothing on it. IoError when there are no processes or pipes left, or
  /// the input is larger than a pipe; a program that is not there ends with 127. Call from the
  /// thread that lives longest: the child dies with it.
  explicit Child(const CommandLine& line, const std::string& input = "");
  /// Kills what is left of the group.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int out() const { return out_; }
  int err() const { return err_; }
  /// What the two have said since the last call.
  std::string take_out() { return take(out_); }
  std::string take_err() { return take(err_); }

  /// As a shell has it (128 + signal); none while it runs.
  std::optional<int> ended();
  void signal_group(int signal) const;

 private:
  static std::string take(int pipe);

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::optional<int> code_;
};

/// Full path of a program of PATH; empty when there is none.
std::string find_program(const std::string& name);

/// Runs the commands side by side, at most `seconds`; each one's exit code (124 when it ran too
/// long) and what it said.
struct CommandResult {
  int code = 124;
  std::string said;
};
std::vector<CommandResult> run_all(const std::vector<CommandLine>& lines,
                                   double seconds,
                                   const std::function<void()>& meanwhile);

}  // namespace isoflop
