// Runs the program under test in a process of its own and collects what it said.
#pragma once
#include "tests/support/temp_dir.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
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

class Program {
 public:
  /// Starts `isoflop arguments...`; `environment` adds to ours.
  explicit Program(const std::vector<std::string>& arguments,
                   const std::map<std::string, std::string>& environment = {}) {
    pid_ = ::fork();
    if (pid_ == 0) {
      redirect(STDOUT_FILENO, out());
      redirect(STDERR_FILENO, err());
      for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
      std::vector<char*> argv;
      std::string program = ISOFLOP_PROGRAM;
      argv.push_back(program.data());
      for (const std::string& argument : arguments)
        argv.push_back(const_cast<char*>(argument.c_str()));
      argv.push_back(nullptr);
      ::execv(program.c_str(), argv.data());
      ::_exit(127);
    }
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
    return {WIFSIGNALED(status_) ? -WTERMSIG(status_) : WEXITSTATUS(status_), read(out()),
            read(err())};
  }
  /// What it has said on standard error so far.
  std::string said() const { return read(err()); }

 private:
  std::string out() const { return (folder_.path() / "out").string(); }
  std::string err() const { return (folder_.path() / "err").string(); }
  static void redirect(int fd, const std::string& path) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(file, fd);
  }
  static std::string read(const std::string& path) {
    std::string text;
    if (FILE* file = std::fopen(path.c_str(), "rb")) {
      char chunk[4096];
      for (size_t got; (got = std::fread(chunk, 1, sizeof(chunk), file)) > 0;)
        text.append(chunk, got);
      std::fclose(file);
    }
    return text;
  }

  TempDir folder_;
  pid_t pid_ = -1;
  int status_ = 0;
};

inline ProgramResult run_isoflop(const std::vector<std::string>& arguments,
                                 const std::map<std::string, std::string>& environment = {}) {
  return Program(arguments, environment).wait();
}

}  // namespace isoflop::test
