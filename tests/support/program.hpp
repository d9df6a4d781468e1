// Runs the program under test in a process of its own and collects what it said.
#pragma once
#include "tests/support/temp_dir.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace isoflop::test {

struct ProgramResult {
  int code = -1;    // exit code, or -signal
  std::string out;  // standard output
  std::string err;  // standard error
};

/// The content of a file; empty when there is none.
inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class Program {
 public:
  using Environment = std::map<std::string, std::string>;
  /// Starts `isoflop arguments...`; `environment` adds to ours. With nothing on standard input.
  explicit Program(const std::vector<std::string>& arguments, const Environment& environment = {}) {
    std::vector<std::string> words = {ISOFLOP_PROGRAM};
    words.insert(words.end(), arguments.begin(), arguments.end());
    start(words, environment, ".", "");
  }
  /// `line` as typed in a shell after "isoflop ", in the folder `at`; `input` is the standard
  /// input.
  Program(const std::string& line, const std::filesystem::path& at, const std::string& input) {
    start({"/bin/sh", "-c", "exec \"$0\" " + line, ISOFLOP_PROGRAM}, {}, at, input);
  }
  /// Any program, found by PATH.
  struct Words {
    std::vector<std::string> words;
  };
  explicit Program(const Words& command, const Environment& environment = {}) {
    std::vector<std::string> words = {"/usr/bin/env"};
    words.insert(words.end(), command.words.begin(), command.words.end());
    start(words, environment, ".", "");
  }
  ~Program() {
    if (pid_ > 0) wait();
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void send(int signal) const { ::kill(pid_, signal); }
  /// True when it has ended within the time.
  bool ended_within(std::chrono::microseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
      if (::waitpid(pid_, &status_, WNOHANG) == pid_) {
        pid_ = -1;
        return true;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return false;
  }
  ProgramResult wait() {
    if (pid_ > 0) ::waitpid(pid_, &status_, 0);
    pid_ = -1;
    return {WIFSIGNALED(status_) ? -WTERMSIG(status_) : WEXITSTATUS(status_), slurp(out()),
            slurp(err())};
  }
  /// What it has said on standard error so far.
  std::string said() const { return slurp(err()); }

 private:
  void start(const std::vector<std::string>& words,
             const Environment& environment,
             const std::filesystem::path& at,
             const std::string& input) {
    std::ofstream(in(), std::ios::binary) << input;
    pid_ = ::fork();
    if (pid_ != 0) return;
    redirect(STDIN_FILENO, in(), O_RDONLY);
    redirect(STDOUT_FILENO, out(), O_WRONLY | O_CREAT | O_TRUNC);
    redirect(STDERR_FILENO, err(), O_WRONLY | O_CREAT | O_TRUNC);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    if (::chdir(at.c_str()) != 0) ::_exit(126);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  std::string in() const { return (folder_.path() / "in").string(); }
  std::string out() const { return (folder_.path() / "out").string(); }
  std::string err() const { return (folder_.path() / "err").string(); }
  static void redirect(int fd, const std::string& path, int flags) {
    const int file = ::open(path.c_str(), flags, 0600);
    ::dup2(file, fd);
  }

  TempDir folder_;
  pid_t pid_ = -1;
  int status_ = 0;
};

inline ProgramResult run_isoflop(const std::vector<std::string>& arguments,
                                 const Program::Environment& environment = {}) {
  return Program(arguments, environment).wait();
}

/// As typed in a shell.
inline ProgramResult run_program(const std::string& line,
                                 const std::filesystem::path& at = ".",
                                 const std::string& input = "") {
  return Program(line, at, input).wait();
}

}  // namespace isoflop::test
