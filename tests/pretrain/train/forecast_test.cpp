// The curve that a plan lets expect, its band, and when a run is said to have left it.
#include "pretrain/train/forecast.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

const PlanConfig kPlan{
    .loss = 3, .loss_low = 2.9, .loss_high = 3.1, .floor = 2, .exponent = 0.5, .law = "test"};

Schedule schedule(Schedule::Decay decay, double final_fraction) {
  return {.decay = decay, .peak = 0.5, .final_fraction = final_fraction, .steps = 400};
}

TEST(Forecast, EndsAtThePromiseWhateverTheDecay) {
  for (const auto decay :
       {Schedule::Decay::linear, Schedule::Decay::cosine, Schedule::Decay::constant})
    for (const double final_fraction : {0.0, 0.1}) {
      const Forecast forecast(kPlan, schedule(decay, final_fraction));
      const Forecast::Band end = forecast.at(400);
      EXPECT_NEAR(end.loss, 3, 1e-12);
      EXPECT_NEAR(end.low, 2.9, 1e-12);
      EXPECT_NEAR(end.high, 3.1, 1e-12);
      for (int64_t step = 2; step <= 400; ++step)
        EXPECT_LT(forecast.at(step).loss, forecast.at(step - 1).loss) << step;
    }
}

// Constant rate: tokens are the area. A quarter of them has (1/4)^-0.5 = 2 times what can be learnt
// left, and the gap of the rate, which the last step has as well.
TEST(Forecast, IsTheLawInTheAreaUnderTheRate) {
  const Forecast forecast(kPlan, schedule(Schedule::Decay::constant, 1));
  const double gap = Forecast::kRateGap;
  const Forecast::Band band = forecast.at(100);
  EXPECT_NEAR(band.loss, 2 + (2 + gap) / (1 + gap), 1e-12);
  const double wider = Forecast::kCurveError * 0.75 * (band.loss - 2);
  EXPECT_NEAR(band.high - band.loss, 0.1 * (band.loss - 2) + wider, 1e-12);
}

TEST(Forecast, SaysWhereTheRunEndsAndThatItLeft) {
  const Forecast forecast(kPlan, schedule(Schedule::Decay::linear, 0));
  const double planned = forecast.mean_at(200, 50).loss;
  EXPECT_NEAR(forecast.final_loss(200, 50, planned), 3, 1e-12);
  EXPECT_NEAR(forecast.final_loss(200, 50, 2 + 1.2 * (planned - 2)), 3.2, 1e-12);
  EXPECT_FALSE(forecast.left(200, 50, planned));
  const double high = 2 + 1.4 * (planned - 2);
  EXPECT_TRUE(forecast.left(200, 50, high));
  EXPECT_TRUE(forecast.left(200, 50, 2 + 0.6 * (planned - 2)));
  EXPECT_FALSE(forecast.left(120, 50, 9)) << "too early to judge";
  const std::string message = forecast.leaving_message(200, 50, high);
  EXPECT_NE(message.find("left the plan's band at step 200"), std::string::npos);
  EXPECT_NE(message.find("ends at 3.400 instead of 3.000"), std::string::npos) << message;
}

TEST(Forecast, PromisesInDisorderAreRefused) {
  const Schedule linear = schedule(Schedule::Decay::linear, 0);
  PlanConfig plan = kPlan;
  plan.floor = 3.5;
  EXPECT_THROW(Forecast(plan, linear), UserError);
  plan = kPlan;
  plan.loss_high = 2.95;
  EXPECT_THROW(Forecast(plan, linear), UserError);
  EXPECT_FALSE(Forecast(PlanConfig{}, linear));
}

}  // namespace
}  // namespace isoflop
