#include "pretrain/train/guard.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace isoflop {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A run whose loss and gradient norm go up and down a little.
struct Calm {
  explicit Calm(GuardConfig c) : config(std::move(c)), guard(config, state) {}
  static StepResult result(int64_t at) {
    const double wave = at % 2 ? 0.01 : -0.01;
    return {.loss = 3 + wave, .grad_norm = 1 - wave};
  }
  void run_to(int64_t last) {
    while (step < last) {
      ++step;
      ASSERT_EQ(guard.judge(step, result(step)).fate, Fate::applied) << step;
    }
  }
  GuardConfig config;
  GuardState state;
  Guard guard;
  int64_t step = 0;
};

TEST(Guard, AJumpOfLossOrNormIsSkippedAndNothingElse) {
  Calm run({.spikes = "skip", .threshold = 6, .window = 16});
  run.run_to(40);
  // Mean 3, deviation 0.01: 3.05 is five deviations up, 3.07 seven.
  EXPECT_EQ(run.guard.judge(41, {.loss = 3.05, .grad_norm = 1}).fate, Fate::applied);
  const Verdict loss = run.guard.judge(42, {.loss = 3.07, .grad_norm = 1});
  EXPECT_EQ(loss.fate, Fate::skipped);
  EXPECT_NE(loss.reason.find("loss"), std::string::npos) << loss.reason;
  const Verdict norm = run.guard.judge(43, {.loss = 3, .grad_norm = 2});
  EXPECT_EQ(norm.fate, Fate::skipped);
  EXPECT_NE(norm.reason.find("gradient norm"), std::string::npos) << norm.reason;
  EXPECT_EQ(run.guard.judge(44, {.loss = 1, .grad_norm = 0.1}).fate, Fate::applied)
      << "falling is welcome";
  EXPECT_EQ(run.state.skipped, (std::vector<int64_t>{42, 43}));
}

TEST(Guard, JudgesNothingBeforeHalfAWindowIsKnownOrWhenOff) {
  Calm young({.spikes = "skip", .window = 16});
  young.run_to(8);
  EXPECT_EQ(young.guard.judge(9, {.loss = 100, .grad_norm = 100}).fate, Fate::applied);
  Calm off({.spikes = "off", .window = 16});
  off.run_to(40);
  EXPECT_EQ(off.guard.judge(41, {.loss = 100, .grad_norm = 100}).fate, Fate::applied);
  EXPECT_TRUE(off.state.seen.empty()) << "nothing is remembered for nothing";
}

// Were step t - 1 looked at, the higher level there would hide the jump at t.
TEST(Guard, LooksAtStepsUpToTwoBefore) {
  Calm run({.spikes = "skip", .threshold = 6, .window = 8});
  run.run_to(20);
  ASSERT_EQ(run.guard.judge(21, {.loss = 3.055, .grad_norm = 1}).fate, Fate::applied);
  EXPECT_EQ(run.guard.judge(22, {.loss = 3.07, .grad_norm = 1}).fate, Fate::skipped);
  EXPECT_EQ(run.guard.judge(23, {.loss = 3.07, .grad_norm = 1}).fate, Fate::applied)
      << "now step 21 belongs to the window";
}

TEST(Guard, WhatIsNotFiniteIsNeverApplied) {
  for (const char* mode : {"off", "skip"}) {
    Calm run({.spikes = mode});
    EXPECT_EQ(run.guard.judge(1, {.loss = kNan, .grad_norm = 1}).fate, Fate::skipped) << mode;
    EXPECT_EQ(run.guard.judge(2, {.loss = 1, .grad_norm = 1 / 0.0}).fate, Fate::skipped) << mode;
  }
  Calm run({.spikes = "rewind"});
  EXPECT_EQ(run.guard.judge(1, {.loss = kNan, .grad_norm = 1}).fate, Fate::rewind);
  EXPECT_TRUE(run.state.skipped.empty());
}

TEST(Guard, GivesUpAfterTenInARowAlsoAcrossAResume) {
  Calm run({.spikes = "off"});
  for (int64_t step = 1; step < 10; ++step) run.guard.judge(step, {.loss = kNan});
  EXPECT_EQ(run.guard.judge(10, {.loss = 3, .grad_norm = 1}).fate, Fate::applied);
  for (int64_t step = 11; step < 20; ++step) run.guard.judge(step, {.loss = kNan});
  GuardState resumed = run.state;
  Guard guard(run.config, resumed);
  EXPECT_THROW(guard.judge(20, {.loss = kNan}), DivergedError);
}

TEST(Guard, ARewindLeavesOutTheStepsAroundAndCountsDown) {
  const GuardConfig config = {.spikes = "rewind", .around = 2, .rewinds = 2};
  GuardState state;
  Guard guard(config, state);
  EXPECT_EQ(guard.last_good_step(10), 7);
  EXPECT_EQ(guard.last_good_step(2), 0);
  guard.rewind(10, {});
  EXPECT_EQ(state.left_out, (std::vector<int64_t>{8, 9, 10, 11, 12}));
  EXPECT_TRUE(guard.leaves_out(8));
  EXPECT_FALSE(guard.leaves_out(7));
  const GuardState before = std::exchange(state, {});  // a checkpoint from before all this
  guard.rewind(13, before);
  EXPECT_EQ(state.left_out, (std::vector<int64_t>{8, 9, 10, 11, 12, 13, 14, 15}));
  EXPECT_THROW(guard.rewind(20, GuardState(state)), DivergedError);
}

}  // namespace
}  // namespace isoflop
