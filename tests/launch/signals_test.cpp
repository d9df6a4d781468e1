// Stop signals, each in a process of its own.
#include "launch/signals.hpp"

#include "cpu/gemm.hpp"

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

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

// oneDNN's kernels for long inner dimensions keep the stack register in a heap buffer, so a handler
// on the thread's own stack would overwrite the heap: signals every 50 us while products run.
TEST(SignalsDeathTest, ArriveSafelyInsideMatrixProducts) {
  const auto bombarded = [] {
    install_stop_signals();
    constexpr int64_t kRows = 32, kInner = 300, kCols = 32;
    const std::vector<float> a(kRows * kInner, 0.25f), b(kInner * kCols, 0.5f);
    std::vector<float> c(kRows * kCols);
    const auto multiply = [&] {
      cpu::gemm({.m = kRows,
                 .n = kCols,
                 .k = kInner,
                 .a = a.data(),
                 .lda = kInner,
                 .b = b.data(),
                 .ldb = kCols,
                 .c = c.data(),
                 .ldc = kCols});
    };
    multiply();
    // Canaries fill the heap up to just below a page, where the library's buffer will start.
    using Canary = std::array<unsigned char, 240>;
    std::vector<std::unique_ptr<Canary>> canaries;
    canaries.reserve(10000);
    do {
      canaries.push_back(std::make_unique<Canary>());
      canaries.back()->fill(0xa5);
    } while (canaries.size() < 8000 ||
             reinterpret_cast<uintptr_t>(canaries.back().get()) % 4096 < 3500);
    timer_t timer;
    struct sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    const struct itimerspec often = {{0, 50000}, {0, 50000}};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, nullptr))
      std::_Exit(98);
    for (int i = 0; i < 20000; ++i) multiply();
    for (const auto& canary : canaries)
      for (const unsigned char byte : *canary)
        if (byte != 0xa5) std::_Exit(99);
    if (c != std::vector<float>(c.size(), 0.125f * kInner)) std::_Exit(97);
    std::_Exit(stop_requested() == ExitCode::kStopped ? 0 : 96);
  };
  EXPECT_EXIT(bombarded(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace isoflop
