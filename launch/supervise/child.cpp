#include "launch/supervise/child.hpp"

#include "core/error.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>
#include <thread>

namespace isoflop {

namespace {

[[noreturn]] void become(const CommandLine& line, int in, int out, int err, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before we asked
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(err, STDERR_FILENO);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1, SIGPIPE}) ::signal(number, SIG_DFL);
  for (const auto& [name, value] : line.environment) ::setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> words;
  for (const std::string& word : line.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  const std::string text = fmt::format("{}: {}\n", line.words[0], std::strerror(errno));
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
  ::_exit(127);
}

/// Both ends of what a child reads. Who starts a program writes before it runs: all at once.
void open_input(int in[2], const std::string& input) {
  if (input.empty()) {
    in[0] = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return;
  }
  if (::pipe2(in, O_CLOEXEC) != 0) fail_io("cannot make a pipe: {}", std::strerror(errno));
  ::fcntl(in[1], F_SETFL, O_NONBLOCK);
  if (::write(in[1], input.data(), input.size()) == std::ssize(input)) return;
  for (const int end : {in[0], in[1]}) ::close(end);
  fail_io("{} bytes do not fit into a pipe", input.size());
}

}  // namespace

Child::Child(const CommandLine& line, const std::string& input) {
  int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
  open_input(in, input);
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
    fail_io("cannot start {}: {}", line.words[0], std::strerror(errno));
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) fail_io("cannot start {}: {}", line.words[0], std::strerror(errno));
  if (pid_ == 0) become(line, in[0], out[1], err[1], parent);
  ::setpgid(pid_, pid_);  // whichever of the two comes first
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  in_ = in[1];
  out_ = out[0];
  err_ = err[0];
  for (const int pipe : {out_, err_}) ::fcntl(pipe, F_SETFL, O_NONBLOCK);
}

Child::~Child() {
  signal_group(SIGKILL);
  if (!code_) ::waitpid(pid_, nullptr, 0);
  if (in_ >= 0) ::close(in_);
  ::close(out_);
  ::close(err_);
}

std::string Child::take(int pipe) {
  std::string text;
  char chunk[16384];
  for (ssize_t got; (got = ::read(pipe, chunk, sizeof(chunk))) > 0;)
    text.append(chunk, static_cast<size_t>(got));
  return text;
}

std::optional<int> Child::ended() {
  int status = 0;
  if (!code_ && ::waitpid(pid_, &status, WNOHANG) == pid_)
    code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return code_;
}

void Child::signal_group(int signal) const {
  ::kill(-pid_, signal);
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::filesystem::path candidate = std::filesystem::path(folder) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate.string();
  }
  return "";
}

std::vector<CommandResult> run_all(const std::vector<CommandLine>& lines,
                                   double seconds,
                                   const std::function<void()>& meanwhile) {
  std::vector<std::unique_ptr<Child>> children;
  for (const CommandLine& line : lines) children.push_back(std::make_unique<Child>(line));
  std::vector<CommandResult> results(lines.size());
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  for (bool running = true; running && std::chrono::steady_clock::now() < end;) {
    meanwhile();
    running = false;
    for (size_t i = 0; i < children.size(); ++i) {
      const std::optional<int> code = children[i]->ended();
      results[i].said += children[i]->take_out() + children[i]->take_err();
      running |= !code;
      results[i].code = code.value_or(124);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  meanwhile();
  return results;
}

}  // namespace isoflop
