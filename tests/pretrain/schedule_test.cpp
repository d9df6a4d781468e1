// The learning rate at its landmarks.
#include "pretrain/optim/schedule.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

/// As resolved() leaves it, at a rate of 2.
RunConfig resolved_run() {
  RunConfig config;
  config.model.context = 2048;
  config.schedule.slots = config.schedule.micro_batch = 1;
  config.optimizer.lr = 2;
  return config;
}

Schedule make(const std::string& decay,
              int64_t steps,
              const std::string& warmup,
              double final_fraction = 0.1) {
  RunConfig config = resolved_run();
  config.schedule.decay = decay;
  config.schedule.warmup = warmup;
  config.schedule.final_lr_fraction = final_fraction;
  return make_schedule(config, steps);
}

// A rate takes a handful of operations in double: some units in the last place of the peak.
constexpr double kRounding = 1e-15 * 4;

TEST(Schedule, WarmupRisesFromOneStepToThePeak) {
  for (const char* decay : {"linear", "cosine", "wsd", "constant"}) {
    const Schedule schedule = make(decay, 100, "10steps");
    EXPECT_EQ(schedule.warmup, 10);
    EXPECT_NEAR(schedule.rate(0), 0.2, kRounding) << decay;
    EXPECT_NEAR(schedule.rate(4), 1.0, kRounding) << decay;
    EXPECT_EQ(schedule.rate(9), 2.0) << decay;
  }
}

TEST(Schedule, LinearLandmarks) {
  const Schedule schedule = make("linear", 110, "10steps");
  EXPECT_NEAR(schedule.rate(10), 2.0 * (1 - 0.9 / 100), kRounding);
  EXPECT_NEAR(schedule.rate(59), 2.0 * 0.55, kRounding);  // half of the way down
  EXPECT_NEAR(schedule.rate(109), 0.2, kRounding);
  EXPECT_EQ(schedule.rate(5000), schedule.rate(109));
  EXPECT_NEAR(make("linear", 50, "0", 0).rate(49), 0, kRounding);
}

TEST(Schedule, CosineLandmarks) {
  const Schedule schedule = make("cosine", 110, "10steps");
  EXPECT_NEAR(schedule.rate(59), 2.0 * 0.55, kRounding);
  EXPECT_NEAR(schedule.rate(34), 2.0 * (0.1 + 0.9 * (1 + std::sqrt(0.5)) / 2),
              kRounding);  // a quarter
  EXPECT_NEAR(schedule.rate(109), 0.2, kRounding);
}

TEST(Schedule, WsdLandmarks) {
  const Schedule schedule = make("wsd", 100, "10steps");
  EXPECT_EQ(schedule.cooldown, 20);
  EXPECT_EQ(schedule.rate(10), 2.0);
  EXPECT_EQ(schedule.rate(79), 2.0);
  EXPECT_NEAR(schedule.rate(84), 2.0 * (1 - 0.9 * 0.5), kRounding);  // sqrt(5/20) = 1/2
  EXPECT_NEAR(schedule.rate(99), 0.2, kRounding);
}

TEST(Schedule, ConstantStays) {
  const Schedule schedule = make("constant", 100, "0");
  EXPECT_EQ(schedule.rate(0), 2.0);
  EXPECT_EQ(schedule.rate(99), 2.0);
}

TEST(Schedule, NeverRisesAfterWarmup) {
  for (const char* decay : {"linear", "cosine", "wsd", "constant"}) {
    const Schedule schedule = make(decay, 1000, "1%");
    for (int64_t step = schedule.warmup; step < 1000; ++step) {
      ASSERT_LE(schedule.rate(step), schedule.rate(step - 1)) << decay << " " << step;
    }
  }
}

TEST(Schedule, WarmupForms) {
  EXPECT_EQ(make("linear", 1000, "1%").warmup, 10);
  EXPECT_EQ(make("linear", 1000, "25").warmup, 25);
  EXPECT_EQ(make("linear", 30, "1%").warmup, 0);
  // Cerebras-GPT 111M: 375M tokens of 120 x 2048 are 1,526 steps; the published 1,525 rounds down
  // the batch to 246K.
  RunConfig config = resolved_run();
  config.schedule.batch_tokens = 120 * 2048;
  config.schedule.warmup = "375Mtok";
  EXPECT_EQ(make_schedule(config, 9037).warmup, 1526);
  // Half of them at 60 sequences, more steps of fewer tokens; half at 120.
  config.schedule.batch_ramp = 187.5e6;
  config.schedule.batch_ramp_from = 60 * 2048;
  config.schedule.slots = 60;
  EXPECT_EQ(make_schedule(config, 9037).warmup, 1526 + 763);
  for (const char* bad : {"", "%", "-1%", "100%", "1.5steps", "3 steps", "5Mtokens", "nan%"}) {
    EXPECT_THROW(parse_warmup(bad), UserError) << bad;
  }
}

TEST(Schedule, AWarmupLongerThanTheRunIsRefused) {
  EXPECT_THROW(make("linear", 10, "10steps"), UserError);
  EXPECT_NO_THROW(make("linear", 11, "10steps"));
  EXPECT_NO_THROW(make("linear", 1, "1%"));
  EXPECT_THROW(make("linear", 10, "1e30tok"), UserError);
}

TEST(Schedule, OneStepHasTheFinalRate) {
  EXPECT_NEAR(make("cosine", 1, "0").rate(0), 0.2, kRounding);
  EXPECT_NEAR(make("wsd", 1, "0").rate(0), 2.0,
              kRounding);  // no room for a cooldown: 20% of 1 is 0
}

TEST(Schedule, DrawsItsShape) {
  const std::string plot = draw(make("linear", 100, "50steps"), 21, 5);
  const std::string want =
      "       2 |          *\n"
      "         |       *** ***\n"
      "         |    ***       ***\n"
      "         |  **             ***\n"
      "       0 |**                  *\n"
      "         +---------------------\n"
      "    step  1                 100\n"
      "warm-up 50 steps to 2, last step 0.2\n";
  EXPECT_EQ(plot.substr(plot.find("+-")), want.substr(want.find("+-")));
  EXPECT_EQ(plot.substr(0, 10), want.substr(0, 10));
  EXPECT_EQ(std::count(plot.begin(), plot.end(), '*'), 21);
}

TEST(Schedule, TheGridIsThatOfTheLastStepsWhateverTheDecay) {
  for (const char* decay : {"linear", "cosine", "wsd", "constant"}) {
    RunConfig config = resolved_run();
    config.schedule.decay = decay;
    config.schedule.warmup = "10steps";
    EXPECT_FALSE(make_schedule(config, 100).quantizes(100)) << decay;
    config.schedule.quantize = "q4_0";
    EXPECT_FALSE(make_schedule(config, 100).quantizes(79)) << decay;
    EXPECT_TRUE(make_schedule(config, 100).quantizes(80)) << decay;
    config.schedule.cooldown_fraction = 1;
    EXPECT_FALSE(make_schedule(config, 100).quantizes(9)) << decay << ": after the warm-up";
    EXPECT_TRUE(make_schedule(config, 100).quantizes(10)) << decay;
  }
}

}  // namespace
}  // namespace isoflop
