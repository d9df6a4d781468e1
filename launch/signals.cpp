#include "launch/signals.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>

namespace isoflop {

namespace {

std::atomic<int> interrupts{0};
std::atomic<bool> stopped{false};  // by TERM or USR1
std::atomic<bool> any{false};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free,
              "a signal handler may touch lock-free atomics only");

void on_signal(int number) {
  any = true;
  if (number != SIGINT) {
    stopped = true;
  } else if (interrupts.fetch_add(1) > 0) {
    ::_exit(static_cast<int>(ExitCode::kInterrupted));
  }
}

}  // namespace

void install_stop_signals() {
  // The handler runs on a stack of its own: inside a matrix product with a long inner dimension
  // oneDNN's kernels point the stack register at a heap buffer, and a signal's frame (kilobytes of
  // vector registers) written below it would overwrite whatever lies there. Signals reach this
  // thread; the ones of a team block them.
  alignas(64) static char stack[64 * 1024];
  stack_t alternate = {};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof(stack);
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_ONSTACK;
  // Without SA_RESTART, so that waiting for standard input ends too; our reads and writes go on
  // after EINTR once they have looked at the flag.
  sigemptyset(&action.sa_mask);
  for (const int number : {SIGINT, SIGTERM, SIGUSR1}) ::sigaction(number, &action, nullptr);
}

std::optional<ExitCode> stop_requested() {
  if (interrupts > 0) return ExitCode::kInterrupted;
  if (stopped) return ExitCode::kStopped;
  return std::nullopt;
}

void forget_interrupt() {
  interrupts = 0;
  any = stopped.load();
}

const std::atomic<bool>* stop_flag() {
  return &any;
}

}  // namespace isoflop
