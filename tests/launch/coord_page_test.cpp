#include "launch/coord_page.hpp"

#include "tests/report/tags.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace isoflop {
namespace {

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
  return n;
}

/// Means and changes that go as size^slope, three sizes, 10 steps, two seeds.
CoordStudy study(CoordDimension dimension, double slope) {
  CoordStudy result{{dimension, "mup", false}, {}, {}};
  for (const CoordModule module : kCoordModules)
    for (const double size : {64.0, 128.0, 256.0})
      for (const uint64_t seed : {1, 2})
        for (int64_t step = 1; step <= 10; ++step) {
          const double mean = std::pow(size, slope) * (1 + 0.01 * static_cast<double>(seed));
          result.rows.push_back(
              {module, size, step, seed, mean, mean * static_cast<double>(step - 1)});
        }
  result.verdict = judge(result.rows, result.setting);
  return result;
}

TEST(CoordPage, ShowsTheVerdictTheSlopesAndEveryModule) {
  const std::string page = coord_page("<check>", {study(CoordDimension::width, 1)});
  EXPECT_EQ(test::tag_problem(page), "");
  EXPECT_NE(page.find("&lt;check&gt;"), page.npos);
  EXPECT_NE(page.find("FAIL: "), page.npos);
  EXPECT_NE(page.find("likely cause: "), page.npos);
  EXPECT_EQ(count(page, "<figure>"), 12u);  // six modules, mean and change
  EXPECT_EQ(count(page, "<td>not judged</td>"), 1u);
  EXPECT_EQ(count(page, "<td>+1.00 (+0.99 to +1.01)</td>"), 18u);
  EXPECT_EQ(count(page, "step 10<"), 12u);
  EXPECT_EQ(count(page, "step 1<"), 6u) << "before any update nothing has changed";
  EXPECT_EQ(page.find("nan"), page.npos);
}

TEST(CoordPage, HasASectionForEachDimension) {
  const std::string page =
      coord_page("both", {study(CoordDimension::width, 0), study(CoordDimension::depth, 0)});
  EXPECT_EQ(test::tag_problem(page), "");
  EXPECT_NE(page.find("PASS: nothing depends on the width"), page.npos);
  EXPECT_NE(page.find("PASS: nothing depends on the depth"), page.npos);
  EXPECT_EQ(count(page, "<figure>"), 24u);
}

TEST(CoordPage, WhatIsNotFiniteIsSaidAndLeftOut) {
  CoordStudy broken = study(CoordDimension::width, 0);
  for (CoordRow& row : broken.rows)
    if (row.module == CoordModule::mlp && row.size == 256 && row.step >= 5)
      row.mean = row.change = std::numeric_limits<double>::infinity();
  broken.verdict = judge(broken.rows, broken.setting);
  const std::string page = coord_page("x", {broken});
  EXPECT_EQ(test::tag_problem(page), "");
  EXPECT_NE(page.find("mlp of width 256 is not finite at step 5"), page.npos);
  EXPECT_EQ(count(page, "<figure>"), 12u);
  const std::string figures = page.substr(page.find("<figure>"));
  EXPECT_EQ(figures.find("inf"), figures.npos);
}

}  // namespace
}  // namespace isoflop
