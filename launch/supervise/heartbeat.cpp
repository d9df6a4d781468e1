#include "launch/supervise/heartbeat.hpp"

#include "core/threads.hpp"
#include "launch/program.hpp"
#include "launch/supervise/sockets.hpp"
#include "parallel/tcp_sockets.hpp"

#include <execinfo.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>

namespace isoflop {

namespace {

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

int connect_to(const SupervisorAddress& supervisor) {
  for (const std::string& address : supervisor.addresses)
    if (const int socket = connect_within(address, supervisor.port, 2); socket >= 0) return socket;
  std::string tried;
  for (const std::string& address : supervisor.addresses)
    tried += (tried.empty() ? "" : ", ") + address;
  fail_io("cannot reach the isoflop launch that started this on {} (port {} of {})",
          own_host_name(), supervisor.port, tried);
}

void print_stack(int) {
  void* frames[64];
  const int count = ::backtrace(frames, 64);
  constexpr char kTitle[] = "isoflop: stack of the main thread:\n";
  [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, kTitle, sizeof(kTitle) - 1);
  ::backtrace_symbols_fd(frames, count, STDERR_FILENO);
}

int number_in_environment(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text ? std::atoi(text) : otherwise;
}

}  // namespace

Heartbeat::Heartbeat(const SupervisorAddress& supervisor)
    : supervisor_(supervisor), socket_(connect_to(supervisor)), main_(::pthread_self()) {
  void* frame[1];
  ::backtrace(frame, 1);  // loads what it needs now and not in a signal handler
  struct sigaction action = {};
  action.sa_handler = print_stack;
  action.sa_flags = SA_ONSTACK | SA_RESTART;
  ::sigaction(SIGUSR2, &action, nullptr);
  // Open MPI's name first: under Slurm with mpirun both are there.
  const int rank = number_in_environment(
      "OMPI_COMM_WORLD_RANK", number_in_environment("PMIX_RANK", number_in_environment("RANK", 0)));
  send_all(socket_, line_of(Hello{.key = supervisor.key,
                                  .attempt = supervisor.attempt,
                                  .rank = rank,
                                  .pid = ::getpid(),
                                  .host = own_host_name()}));
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { beat(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Heartbeat::~Heartbeat() {
  ending_ = true;
  ::shutdown(socket_, SHUT_RDWR);
  thread_.join();
  ::close(socket_);
}

void Heartbeat::end(ExitCode code, const std::string& text) {
  const std::lock_guard lock(sending_);
  send_all(socket_, line_of(End{static_cast<int>(code), text}));
  ending_ = true;
}

void Heartbeat::obey(const std::string& line) {
  if (line.find("\"stop\"") != line.npos) ::kill(::getpid(), SIGUSR1);
  if (line.find("\"stacks\"") != line.npos) ::pthread_kill(main_, SIGUSR2);
}

void Heartbeat::beat() {
  const double every = std::min(1.0, supervisor_.patience / 16);
  double answered = seconds_now(), next = 0;
  std::string pending;
  const auto give_up = [&](const char* why) {
    if (ending_) return;
    const std::string text = fmt::format("isoflop: {}; this rank ends\n", why);
    [[maybe_unused]] const ssize_t ignored = ::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(static_cast<int>(ExitCode::kIo));
  };
  while (!ending_) {
    if (seconds_now() >= next) {
      const std::lock_guard lock(sending_);
      if (!ending_) send_all(socket_, line_of(pulse().take()));
      next = seconds_now() + every;
    }
    pollfd wanted = {socket_, POLLIN, 0};
    ::poll(&wanted, 1, std::max(1, static_cast<int>((next - seconds_now()) * 1000)));
    char chunk[4096];
    const ssize_t got = ::recv(socket_, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
      return give_up("isoflop launch is gone");
    if (got > 0) {
      answered = seconds_now();
      pending.append(chunk, static_cast<size_t>(got));
    }
    for (size_t end; (end = pending.find('\n')) != pending.npos; pending.erase(0, end + 1))
      obey(pending.substr(0, end));
    if (seconds_now() - answered > supervisor_.patience)
      return give_up("isoflop launch has not answered for too long");
  }
}

std::unique_ptr<Heartbeat> heartbeat_if_supervised() {
  const char* const text = std::getenv(kSupervisorVariable);
  if (!text) return nullptr;
  return std::make_unique<Heartbeat>(SupervisorAddress::parse(text));
}

void answer_probe(const SupervisorAddress& supervisor, int index, const std::string& network) {
  const std::string inside = network.empty() ? "" : own_address_in(network);
  const int socket = connect_to(supervisor);
  send_all(socket, line_of(Hello{.key = supervisor.key,
                                 .attempt = supervisor.attempt,
                                 .probe = index,
                                 .pid = ::getpid(),
                                 .cores = usable_cores(),
                                 .host = own_host_name(),
                                 .program = program_hash(),
                                 .address = inside.empty() ? own_address(socket).host : inside,
                                 .port = free_port()}));
  pollfd wanted = {socket, POLLIN, 0};
  ::poll(&wanted, 1, 5000);  // until it has been read
  ::close(socket);
}

}  // namespace isoflop
