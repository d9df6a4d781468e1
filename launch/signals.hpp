// Requests to stop from outside: Ctrl-C, SIGTERM and SIGUSR1 set a flag that a run looks at between
// steps, so that it can finish the step and save. A second Ctrl-C leaves at once with 130.
#pragma once
#include "core/error.hpp"

#include <atomic>
#include <optional>

namespace isoflop {

/// Call before work that can be stopped and saved; commands that never call it die by these signals
/// as usual. Call on the main thread, before it computes.
void install_stop_signals();

/// The exit code to end with once saved, when somebody asked: kInterrupted after Ctrl-C, kStopped
/// after TERM or USR1.
std::optional<ExitCode> stop_requested();

/// Ctrl-C was answered by ending something smaller than the program: the next one is a first again.
void forget_interrupt();

/// True from the first such request on; for long work that polls a plain flag.
const std::atomic<bool>* stop_flag();

}  // namespace isoflop
