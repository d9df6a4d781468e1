// Slopes and judgement on numbers made by hand: every pattern of a mistake gets its own diagnosis.
#include "muP/coord_check.hpp"

#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

namespace isoflop {
namespace {

TEST(CoordCheck, AnExactPowerHasItsSlopeAndNoWidth) {
  const SlopeFit fit = fit_slope({64, 128, 256, 512}, {1, 2, 4, 8});
  EXPECT_NEAR(fit.slope, 1, 1e-12);
  EXPECT_NEAR(fit.low, 1, 1e-12);
  EXPECT_NEAR(fit.high, 1, 1e-12);
}

// A 95 % interval that holds in 95 of 100 cases: in 1000, 950 +- 14 (two deviations of a binomial
// are 14; four are taken).
TEST(CoordCheck, TheIntervalHoldsAsOftenAsItSays) {
  int held = 0;
  for (uint64_t trial = 0; trial < 1000; ++trial) {
    std::vector<double> sizes, values;
    for (uint64_t i = 0; i < 8; ++i) {
      sizes.push_back(std::exp2(static_cast<double>(6 + i / 2)));
      values.push_back(std::pow(sizes.back(), 0.3) * std::exp2(0.2 * normal01(7, trial, i)));
    }
    const SlopeFit fit = fit_slope(sizes, values);
    held += fit.low <= 0.3 && 0.3 <= fit.high;
  }
  EXPECT_NEAR(held, 950, 28);
}

TEST(CoordCheck, WhatIsNotFiniteIsLeftOut) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_NEAR(fit_slope({1, 2, 4, 8}, {1, 2, infinity, 8}).slope, 1, 1e-12);
  EXPECT_TRUE(std::isnan(fit_slope({1, 2}, {0, 3}).slope));
  EXPECT_TRUE(std::isnan(fit_slope({}, {}).slope));
}

/// Slopes of the mean at step 1 and later, by module, and of its change.
using Slopes = std::function<double(CoordModule, int64_t step)>;

constexpr int64_t kSteps = 10;

/// Changes that grow from step to step.
CoordVerdict verdict_of(const Slopes& mean, const Slopes& change, CoordSetting setting) {
  std::vector<CoordRow> rows;
  for (const double size : {64., 128., 256., 512.})
    for (int64_t step = 1; step <= kSteps; ++step)
      for (const CoordModule module : kCoordModules)
        rows.push_back({module, size, step, 1, std::pow(size, mean(module, step)),
                        static_cast<double>(step - 1) * std::pow(size, change(module, step))});
  return judge(rows, setting);
}
CoordVerdict verdict_of(const Slopes& slopes, CoordSetting setting) {
  return verdict_of(slopes, slopes, setting);
}

/// As muP is: only the logits shrink, and only before the first update.
double healthy(CoordModule module, int64_t step) {
  return module == CoordModule::logits && step == 1 ? -0.5 : 0;
}
bool is_hidden(CoordModule m) {
  return m == CoordModule::attention || m == CoordModule::mlp || m == CoordModule::attention_logits;
}

TEST(CoordCheck, HealthyModelsPass) {
  const CoordVerdict verdict = verdict_of(healthy, {CoordDimension::width, "mup", false});
  EXPECT_TRUE(verdict.pass);
  EXPECT_EQ(verdict.finding + verdict.cause + verdict.fix, "");
}

TEST(CoordCheck, EachMistakeIsNamed) {
  struct Case {
    Slopes slopes;
    const char* cause;
    const char* finding;
    bool heads_grow = false;
    const char* kind = "mup";
  };
  const Case cases[] = {
      {[](CoordModule m, int64_t t) { return is_hidden(m) && t > 1 ? 1.5 : healthy(m, t); },
       "rate of the hidden matrices does not fall",
       "attention logits: the change of x grows as width^+1.50 (+1.50 to +1.50) over steps 2 to "
       "10"},
      {[](CoordModule m, int64_t t) { return is_hidden(m) && t > 1 ? -1.0 : healthy(m, t); },
       "falls faster than 1/width", "attention logits: the change of x falls as width^-1.00"},
      {[](CoordModule m, int64_t t) { return is_hidden(m) ? 1.0 : healthy(m, t); },
       "initial variance", "attention logits: mean |x| grows as width^+1.00"},
      {[](CoordModule m, int64_t) { return m == CoordModule::logits ? 0.54 : 0; },
       "output multiplier", "logits: mean |x| grows as width^+0.54"},
      {[](CoordModule m, int64_t) {
         return m == CoordModule::logits ? 0.5 : is_hidden(m) ? 1. : 0;
       },
       "base width of its own", "width^+1.00"},
      {[](CoordModule m, int64_t) {
         return m == CoordModule::logits ? 0.5 : is_hidden(m) ? 1. : 0;
       },
       "standard parametrization", "width^+1.00", false, "sp"},
      {[](CoordModule m, int64_t t) {
         return m == CoordModule::attention_logits && t > 1 ? 0.3 : healthy(m, t);
       },
       "1/sqrt(head_dim)", "attention logits: mean |x| goes as width^+0.00 (+0.00 to +0.00) before",
       true},
      {[](CoordModule m, int64_t t) {
         return m == CoordModule::mlp && t > 1 ? -0.35 : healthy(m, t);
       },
       "no known mistake", "mlp: the change of x falls as width^-0.35"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.cause);
    const CoordVerdict verdict =
        verdict_of(c.slopes, {CoordDimension::width, c.kind, c.heads_grow});
    EXPECT_FALSE(verdict.pass);
    EXPECT_NE(verdict.cause.find(c.cause), std::string::npos) << verdict.cause;
    EXPECT_NE(verdict.finding.find(c.finding), std::string::npos) << verdict.finding;
    EXPECT_NE(verdict.fix, "");
  }
}

// Updates, a little more each, make the change of a module grow up to step `turn`, whereafter it
// falls to a third: as what all tokens share does. The narrower, the later.
std::vector<CoordRow> turning(double lag_per_octave, double power) {
  std::vector<CoordRow> rows;
  for (const double size : {64., 128., 256., 512.})
    for (int64_t step = 1; step <= kSteps; ++step)
      for (const CoordModule module : kCoordModules) {
        const double late = lag_per_octave * (9 - std::log2(size));
        const double over = static_cast<double>(step) - (6 + late);
        const double shape = (static_cast<double>(step) - 1) * (over > 0 ? std::exp(-over) : 1);
        const double change = shape * std::pow(size / 64, power);
        const double mean = module == CoordModule::embedding ? 1 : 0.1 + change;
        rows.push_back({module, size, step, 1, mean, change});
      }
  return rows;
}

TEST(CoordCheck, ALagOfTheTurnIsNoPowerOfTheWidth) {
  const CoordVerdict verdict = judge(turning(0.6, 0), {CoordDimension::width, "mup", false});
  EXPECT_TRUE(verdict.pass) << verdict.finding;
  EXPECT_EQ(verdict.turn, 6);
  const CoordSlope& mlp = verdict.slopes[static_cast<size_t>(CoordModule::mlp)];
  EXPECT_NEAR(mlp.change.slope, 0, 1e-9);
  EXPECT_LT(mlp.late.slope, -0.2) << "the means do differ, or this test shows nothing";
  // The same curves with a power of the width on top are found, whichever way it goes.
  for (const double power : {0.5, 1.0, -0.7})
    EXPECT_FALSE(judge(turning(0.6, power), {CoordDimension::width, "mup", false}).pass) << power;
}

// A step that any of the sizes takes back ends the window, however the others go on.
TEST(CoordCheck, TheTurnIsTheFirstOfAnySizeAndModule) {
  std::vector<CoordRow> rows = turning(0, 0);
  EXPECT_EQ(judge(rows, {CoordDimension::width, "mup", false}).turn, 6);
  for (CoordRow& row : rows)
    if (row.module == CoordModule::mlp && row.size == 128 && row.step == 4) row.change = 0.1;
  EXPECT_EQ(judge(rows, {CoordDimension::width, "mup", false}).turn, 3);
}

// What only begins to grow later.
TEST(CoordCheck, GrowthOfTheMeansAtLateStepsFails) {
  const Slopes late = [](CoordModule m, int64_t t) {
    return m == CoordModule::mlp && t >= 4 ? 0.8 : healthy(m, t);
  };
  const CoordVerdict verdict = verdict_of(late, healthy, {CoordDimension::width, "mup", false});
  EXPECT_FALSE(verdict.pass);
  EXPECT_NE(verdict.finding.find("mlp: mean |x| grows as width^+0.80"), std::string::npos)
      << verdict.finding;
}

// Under 1/head_dim, attention logits of independent queries and keys fall at first.
TEST(CoordCheck, GrowingHeadsPassUnderTheRightScale) {
  const auto slopes = [](CoordModule m, int64_t t) {
    return m == CoordModule::attention_logits && t == 1 ? -0.5 : healthy(m, t);
  };
  EXPECT_TRUE(verdict_of(slopes, {CoordDimension::width, "mup", true}).pass);
  EXPECT_FALSE(verdict_of(healthy, {CoordDimension::width, "mup", true}).pass);
  EXPECT_TRUE(verdict_of(healthy, {CoordDimension::width, "mup", false}).pass);
}

// The widths that remain look healthy.
TEST(CoordCheck, AModelThatDivergedIsNoPass) {
  std::vector<CoordRow> rows;
  for (const double size : {64., 128., 256.})
    for (int64_t step = 1; step <= 5; ++step)
      for (const CoordModule module : kCoordModules)
        rows.push_back({module, size, step, 1, std::pow(size, healthy(module, step)), 1});
  EXPECT_TRUE(judge(rows, {CoordDimension::width, "mup", false}).pass);
  rows.push_back({CoordModule::mlp, 512, 5, 1, std::numeric_limits<double>::infinity(), 1});
  const CoordVerdict verdict = judge(rows, {CoordDimension::width, "mup", false});
  EXPECT_FALSE(verdict.pass);
  EXPECT_EQ(verdict.finding, "mlp of width 512 is not finite at step 5");
}

TEST(CoordCheck, DepthLooksAtTheStreamFromTheFirstUpdateOn) {
  const CoordSetting setting{CoordDimension::depth, "completep", false};
  // Vanishing branches before the first update are no fault (Dey et al. 2025).
  EXPECT_TRUE(
      verdict_of([](CoordModule, int64_t t) { return t == 1 ? -0.3 : 0.05; }, setting).pass);
  const CoordVerdict grows = verdict_of([](CoordModule, int64_t) { return 0.9; }, setting);
  EXPECT_FALSE(grows.pass);
  EXPECT_NE(grows.fix.find("completep"), std::string::npos);
  // A stream that starts large hides the growth of its change for a while.
  EXPECT_FALSE(verdict_of([](CoordModule, int64_t) { return 0.; },
                          [](CoordModule, int64_t) { return 0.9; }, setting)
                   .pass);
}

TEST(CoordCheck, NoNumbersAreNoPass) {
  EXPECT_FALSE(judge({}, {CoordDimension::width, "mup", false}).pass);
}

}  // namespace
}  // namespace isoflop
