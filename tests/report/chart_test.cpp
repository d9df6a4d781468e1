// Charts: what is drawn where, what is left out, and that whatever is drawn is well-formed.
#include "report/chart.hpp"

#include "tests/report/tags.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace isoflop {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Chart chart_of(std::vector<double> x, std::vector<double> y) {
  return {
      .title = "T", .x_label = "x", .y_label = "y", .series = {{"s", std::move(x), std::move(y)}}};
}

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++found;
  return found;
}

/// The path of the first line.
std::string path_of(const std::string& svg) {
  const size_t at = svg.find(" d=\"") + 4;
  return svg.substr(at, svg.find('"', at) - at);
}

TEST(Chart, PutsTheLowestLeftAndBelowTheHighest) {
  const std::string svg = draw(chart_of({0, 10}, {1, 2}));
  EXPECT_EQ(test::tag_problem(svg), "");
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  ASSERT_EQ(std::sscanf(path_of(svg).c_str(), "M%lf %lfL%lf %lf", &x0, &y0, &x1, &y1), 4) << svg;
  EXPECT_EQ(x0, 64);
  EXPECT_EQ(x1, 708);
  EXPECT_GT(y0, y1);
  EXPECT_GT(y1, 34);   // room above
  EXPECT_LT(y0, 296);  // and below
}

TEST(Chart, NanInterruptsALine) {
  const std::string path = path_of(draw(chart_of({0, 1, 2, 3, 4}, {1, 2, kNan, 2, 1})));
  EXPECT_EQ(count(path, "M"), 2u) << path;
  EXPECT_EQ(count(path, "L"), 2u) << path;
}

TEST(Chart, WhatHasNoPlaceIsLeftOut) {
  EXPECT_EQ(draw(chart_of({}, {})), "");
  EXPECT_EQ(draw(chart_of({1, 2}, {kNan, kInfinity})), "");
  Chart logarithmic = chart_of({0, 1, 10, 100}, {1, 1, -2, 3});
  logarithmic.log_x = logarithmic.log_y = true;
  const std::string svg = draw(logarithmic);
  EXPECT_EQ(count(path_of(svg), "M") + count(path_of(svg), "L"), 2u) << svg;
  EXPECT_EQ(test::tag_problem(svg), "");
  EXPECT_EQ(svg.find("nan"), svg.npos);
  EXPECT_EQ(svg.find("inf"), svg.npos);
}

TEST(Chart, OnePointAndConstantsHaveARange) {
  for (const double value : {0.0, 3.0, -1e300}) {
    const std::string svg = draw(chart_of({5}, {value}));
    EXPECT_EQ(test::tag_problem(svg), "");
    EXPECT_EQ(svg.find("nan"), svg.npos) << svg;
    EXPECT_EQ(svg.find("inf"), svg.npos) << svg;
  }
}

TEST(Chart, IgnoresTheHighestWhenAsked) {
  std::vector<double> x, y;
  for (int i = 0; i < 100; ++i) x.push_back(i), y.push_back(i == 0 ? 1000 : 1 + i % 2);
  Chart chart = chart_of(x, y);
  EXPECT_NE(draw(chart).find(">800<"), std::string::npos);
  chart.ignore_highest = 0.02;
  EXPECT_EQ(draw(chart).find(">800<"), std::string::npos);
}

/// y of the first point of the first line, in pixels.
double first_y(const std::string& svg) {
  double x = 0, y = 0;
  EXPECT_EQ(std::sscanf(path_of(svg).c_str(), "M%lf %lf", &x, &y), 2) << svg;
  return y;
}

TEST(Chart, ChartsAlikeShareTheirAxes) {
  const Chart low = chart_of({0, 10}, {1, 2}), high = chart_of({5, 20}, {2, 4});
  const std::vector<std::string> both = draw_alike({low, high});
  ASSERT_EQ(both.size(), 2u);
  double x0 = 0, x1 = 0, y = 0, top = 0;
  ASSERT_EQ(std::sscanf(path_of(both[0]).c_str(), "M%lf %lfL%lf %lf", &x0, &y, &x1, &top), 4);
  EXPECT_EQ(x0, 64);
  EXPECT_EQ(x1, 386);                   // 10 of 20
  EXPECT_EQ(first_y(both[1]), top);     // 2 is as high in both
  EXPECT_LT(first_y(draw(high)), 296);  // alone it starts
  EXPECT_GT(first_y(draw(high)), top);  // at the bottom
  EXPECT_EQ(draw_alike({low, chart_of({}, {})})[1], "");
  EXPECT_TRUE(draw_alike({}).empty());
}

TEST(Chart, CrossesLieAtTheUpperEdgeWhateverTheirHeight) {
  Chart chart = chart_of({1, 2}, {1, 2});
  chart.series.push_back({"", {2, 4}, {kNan, 1e9}, Series::Style::crosses, 1});
  chart.series.push_back({"", {4}, {kNan}, Series::Style::crosses, 2});
  const std::string svg = draw(chart);
  EXPECT_EQ(test::tag_problem(svg), "");
  EXPECT_EQ(count(svg, "class=\"line c1\""), 2u) << svg;
  EXPECT_EQ(svg.find(">1e+09<"), svg.npos) << "no part of the range";
  double x = 0, upper = 0, lower = 0;
  const std::string first = svg.substr(svg.find("class=\"line c1\" d=\"M") + 19);
  const std::string second = svg.substr(svg.find("class=\"line c2\" d=\"M") + 19);
  ASSERT_EQ(std::sscanf(first.c_str(), "M%lf %lf", &x, &upper), 2) << first;
  // 2 of 1 to 4, with room for half a cross at the ends; an arm to the left.
  EXPECT_NEAR(x, 64 + 644 * (1 / 3.0 + 0.015) / 1.03 - 3, 0.1);
  ASSERT_EQ(std::sscanf(second.c_str(), "M%lf %lf", &x, &lower), 2) << second;
  EXPECT_GE(upper, 34);
  EXPECT_GT(lower, upper) << "a row for each series";
  EXPECT_EQ(draw({.title = "",
                  .x_label = "",
                  .y_label = "",
                  .series = {{"", {1}, {kNan}, Series::Style::crosses}}}),
            "");
}

TEST(Chart, WhatIsNearlyFlatLooksFlat) {
  Chart chart = chart_of({1, 10}, {1, 1.1});
  chart.log_y = true;
  const auto height = [&] {
    double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
    EXPECT_EQ(std::sscanf(path_of(draw(chart)).c_str(), "M%lf %lfL%lf %lf", &x0, &y0, &x1, &y1), 4);
    return y0 - y1;
  };
  EXPECT_GT(height(), 200);
  chart.least_factor = 16;
  EXPECT_NEAR(height(), 262 * std::log(1.1) / std::log(16.0) / 1.08, 0.3);
  EXPECT_GT(height(), 0);
}

TEST(Chart, TitlesAreText) {
  Chart chart = chart_of({0, 1}, {0, 1});
  chart.title = "a<b & \"c\"";
  const std::string svg = draw(chart);
  EXPECT_EQ(test::tag_problem(svg), "");
  EXPECT_NE(svg.find("a&lt;b &amp; &quot;c&quot;"), svg.npos);
}

TEST(Chart, ThinningKeepsMeansAndExtremes) {
  Series series{"s", {}, {}};
  for (int i = 0; i < 1000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 7 ? -5.0 : i == 8 ? kNan : 1.0);
  }
  const Series thin = thinned(series, 100);
  ASSERT_EQ(thin.x.size(), 100u);
  EXPECT_DOUBLE_EQ(thin.x[0], 4.5);
  EXPECT_DOUBLE_EQ(thin.y[0], (8 * 1.0 - 5) / 9);
  EXPECT_EQ(thin.low[0], -5);
  EXPECT_EQ(thin.high[0], 1);
  EXPECT_EQ(thinned(series, 1000).x.size(), 1000u);
  EXPECT_TRUE(thinned(series, 1000).low.empty());
}

TEST(Chart, TicksAreRound) {
  EXPECT_EQ(axis_ticks(0, 10, 5, false), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(axis_ticks(-0.3, 0.31, 6, false).size(), 7u);
  EXPECT_FALSE(std::signbit(axis_ticks(-0.05, 1, 5, false).front()));  // no "-0"
  EXPECT_EQ(axis_ticks(1, 1000, 6, true),
            (std::vector<double>{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000}));
  EXPECT_EQ(axis_ticks(1e-8, 1, 8, true).front(), 1e-8);
  EXPECT_GE(axis_ticks(3, 4, 5, true).size(), 2u);  // no power of ten in it
  EXPECT_TRUE(axis_ticks(1, 1, 5, false).empty());
  EXPECT_TRUE(axis_ticks(kNan, 1, 5, false).empty());
}

}  // namespace
}  // namespace isoflop
