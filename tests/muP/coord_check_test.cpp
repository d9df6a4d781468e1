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

/// Slopes at step 1 and later, by module.
using Slopes = std::function<double(CoordModule, int64_t step)>;

CoordVerdict verdict_of(const Slopes& slopes, CoordSetting setting) {
  std::vector<CoordRow> rows;
  for (const double size : {64., 128., 256., 512.})
    for (int64_t step = 1; step <= 8; ++step)
      for (const CoordModule module : kCoordModules)
        rows.push_back({module, size, step, 1, std::pow(size, slopes(module, step)), 1});
  return judge(rows, setting);
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
       "rate of the hidden", "attention logits: mean |x| grows as width^+1.50"},
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
         return m == CoordModule::mlp && t > 1 ? -0.4 : healthy(m, t);
       },
       "no known mistake", "mlp: mean |x| falls as width^-0.40"},
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
}

TEST(CoordCheck, NoNumbersAreNoPass) {
  EXPECT_FALSE(judge({}, {CoordDimension::width, "mup", false}).pass);
}

}  // namespace
}  // namespace isoflop
