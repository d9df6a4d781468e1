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

TEST(FitPage, IsOneWholePageWithItsThreeFigures) {
  std::vector<RunPoint> points;
  for (const double flops : {1e13, 1e14})
    for (const double parameters : {1e5, 3e5, 1e6}) points.push_back(point(parameters, flops));
  LawFit fit;
  fit.terms = kTerms;
  fit.residual = 0.01;
  const std::string page =
      fit_page("Law of <runs>", fit, points, judge(law_with_residual(0.01), {point(1e6, 1e15)}));
  EXPECT_EQ(test::tag_problem(page), "");
  for (const char* shown : {"Law of &lt;runs&gt;", "1e+13 FLOPs", "1e+14 FLOPs", "Residuals",
                            "1 of 1 outcomes", "forecast, 80 %"})
    EXPECT_NE(page.find(shown), page.npos) << shown;
  EXPECT_EQ(fit_page("x", fit, points, {}).find("forecast"), std::string::npos);
}

}  // namespace
}  // namespace isoflop
