// Stop signals, each in a process of its own.
#include "launch/signals.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>

namespace isoflop {
namespace {

/// Ends with the exit code a run would end with after these signals; 0 when none asked to stop.
[[noreturn]] void exit_after(std::initializer_list<int> signals) {
  install_stop_signals();
  for (const int number : signals) std::raise(number);
  const auto code = stop_requested();
  if (code.has_value() != stop_flag()->load()) std::_Exit(99);
  std::_Exit(code ? static_cast<int>(*code) : 0);
}

TEST(SignalsDeathTest, EachSignalHasItsExitCode) {
  EXPECT_EXIT(exit_after({}), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(exit_after({SIGTERM}), testing::ExitedWithCode(75), "");
  EXPECT_EXIT(exit_after({SIGUSR1}), testing::ExitedWithCode(75), "");
  EXPECT_EXIT(exit_after({SIGINT}), testing::ExitedWithCode(130), "");
  EXPECT_EXIT(exit_after({SIGTERM, SIGINT}), testing::ExitedWithCode(130), "");
}

TEST(SignalsDeathTest, ASecondCtrlCLeavesAtOnce) {
  const auto never_polls = [] {
    install_stop_signals();
    std::raise(SIGINT);
    std::raise(SIGINT);
    std::_Exit(0);  // not reached
  };
  EXPECT_EXIT(never_polls(), testing::ExitedWithCode(130), "");
}

}  // namespace
}  // namespace isoflop
