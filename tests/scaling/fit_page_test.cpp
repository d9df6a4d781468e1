// The page of a fit, and how forecasts are judged by what became of them.
#include "scaling/fit_page.hpp"

#include "tests/report/tags.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

const LawTerms kTerms{.E = 1.5, .A = 400, .B = 500, .alpha = 0.34, .beta = 0.28};

RunPoint point(double parameters, double flops, double factor = 1) {
  const double tokens = flops / (6 * parameters);
  return {parameters, tokens, factor * kTerms.loss(parameters, tokens), flops};
}

LossLaw law_with_residual(double residual) {
  LossLaw law;
  law.terms = kTerms;
  law.residual = residual;
  law.resampled = {kTerms};
  return law;
}

TEST(FitPage, JudgesForecastsByTheirIntervals) {
  // 1 % of ln L is 1.28 % on each side at 80 %.
  const std::vector<Outcome> outcomes = judge(
      law_with_residual(0.01),
      {point(1e6, 1e15), point(2e6, 1e15, 1.012), point(4e6, 1e15, 0.98), point(4e6, 2e15, 1.03)});
  EXPECT_TRUE(outcomes[0].held());
  EXPECT_TRUE(outcomes[1].held());
  EXPECT_FALSE(outcomes[2].held());
  const Calibration c = calibration_of(outcomes);
  EXPECT_EQ(c.runs, 4);
  EXPECT_EQ(c.held, 2);
  EXPECT_NEAR(c.median_error, 0.016, 1e-9);  // between 0.012 and 0.02
  EXPECT_NEAR(c.worst_error, 0.03, 1e-9);
  EXPECT_EQ(calibration_of({}).runs, 0);
}

TEST(FitPage, TheBendMovesForecastsAndTheirIntervals) {
  // Without the budget of 1e15, a doubling, the law was 2 % too high.
  const LeftOut left{.from = 1e15, .points = 2, .worst_error = 0.02, .mean_error = 0.02, .step = 2};
  const std::vector<Outcome> by_law =
      judge(law_with_residual(0.01), {point(1e6, 1e15), point(1e6, 4e15, 1 / 1.02 / 1.02)});
  const std::vector<Outcome> by_bend = bent(by_law, left);
  EXPECT_NEAR(by_bend[0].error(), 0, 1e-12) << "nothing is known of a bend before the next budget";
  EXPECT_NEAR(by_bend[1].error(), 0, 1e-12) << "two doublings on";
  EXPECT_NEAR(by_bend[1].range.high / by_law[1].range.high, 1 / 1.02 / 1.02, 1e-12);
  EXPECT_NEAR(by_bend[1].range.low / by_law[1].range.low, 1 / 1.02 / 1.02, 1e-12);
  EXPECT_FALSE(by_law[1].held());
  EXPECT_TRUE(by_bend[1].held());
}

TEST(FitPage, IsOneWholePageWithItsThreeFigures) {
  std::vector<RunPoint> points;
  for (const double flops : {1e13, 1e14})
    for (const double parameters : {1e5, 3e5, 1e6}) points.push_back(point(parameters, flops));
  LawFit fit;
  fit.terms = kTerms;
  fit.residual = 0.01;
  const std::vector<Outcome> outcomes = judge(law_with_residual(0.01), {point(1e6, 1e15)});
  const std::string page = fit_page("Law of <runs>", fit, points, outcomes, {});
  EXPECT_EQ(test::tag_problem(page), "");
  for (const char* shown : {"Law of &lt;runs&gt;", "1e+13 FLOPs", "1e+14 FLOPs", "Residuals",
                            "By the law: 1 of 1 outcomes", "law, 80 %"})
    EXPECT_NE(page.find(shown), page.npos) << shown;
  EXPECT_EQ(page.find("bend"), page.npos);
  EXPECT_EQ(fit_page("x", fit, points, {}, {}).find("forecast"), std::string::npos);
  // Beside each other where the runs bend: a tenth lower, which the outcome is not.
  std::vector<Outcome> lower = outcomes;
  lower[0].loss *= 0.9, lower[0].range.low *= 0.9, lower[0].range.high *= 0.9;
  const std::string both = fit_page("x", fit, points, outcomes, lower);
  EXPECT_EQ(test::tag_problem(both), "");
  for (const char* shown : {"By the law: 1 of 1", "With the bend: 0 of 1", "with the bend, 80 %",
                            "<td>+11.11 %</td><td>no</td>"})
    EXPECT_NE(both.find(shown), both.npos) << shown;
}

}  // namespace
}  // namespace isoflop
