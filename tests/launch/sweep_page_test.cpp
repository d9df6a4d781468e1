#include "launch/sweep_page.hpp"

#include "core/file.hpp"
#include "tests/report/tags.hpp"
#include "tests/support/program.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace isoflop {
namespace {

/// Bowls in log2 of the rate: lowest at `best` for width 64, an octave per doubling lower from
/// there.
SweepTable bowls(const std::string& kind, double best, double octaves) {
  SweepTable table{{"optimizer.lr"}, {}};
  for (const int64_t width : {64, 128, 256})
    for (int k = 0; k < 7; ++k)
      for (const uint64_t seed : {1, 2}) {
        SweepRow row;
        row.parametrization = kind;
        row.width = width;
        row.layers = 2;
        row.steps = row.last_step = 100;
        row.seed = seed;
        const double value = 5e-4 * std::exp2(k);
        row.values = {fmt::format("{}", value)};
        row.parameters = 1e5;
        row.tokens = 2e5;
        row.flops = 1e11;
        const double off =
            std::log2(value / best) + octaves * std::log2(static_cast<double>(width) / 64);
        row.loss = row.train_loss = 2.5 + 0.05 * off * off + 0.001 * static_cast<double>(seed);
        table.rows.push_back(row);
      }
  return table;
}

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(SweepPage, DrawsSpBesideMup) {
  const std::string page =
      sweep_page("rates", {{"flat", bowls("mup", 4e-3, 0)}, {"falling", bowls("sp", 8e-3, 1)}});
  EXPECT_EQ(test::tag_problem(page), "");
  EXPECT_EQ(count(page, "<figure>"), 3u);  // a figure of losses each, and the drift of both
  EXPECT_EQ(count(page, " bar\""), 6u) << "an interval for every optimum";
  EXPECT_EQ(count(page, "<td>0.004</td>"), 4u) << "mup at three widths, sp at 128";
  EXPECT_EQ(count(page, "<td>0.008</td>"), 1u);
  EXPECT_EQ(count(page, "<td>0.002</td>"), 1u);
}

TEST(SweepPage, SaysWhereThereIsNoOptimumOrABoundOnly) {
  SweepTable table = bowls("mup", 1e-1, 0);
  for (SweepRow& row : table.rows)
    if (row.width == 128) row.loss = std::numeric_limits<double>::quiet_NaN();
  const std::string page = sweep_page("<rates>", {{"far & wide", table}});
  EXPECT_EQ(test::tag_problem(page), "");
  EXPECT_NE(page.find("&lt;rates&gt;"), page.npos);
  EXPECT_NE(page.find("far &amp; wide"), page.npos);
  EXPECT_EQ(count(page, "<td>0.032 or more</td>"), 2u);
  EXPECT_EQ(count(page, "<td>none</td>"), 1u);
  EXPECT_EQ(test::tag_problem(sweep_page("empty", {{"none", {{"optimizer.lr"}, {}}}})), "");
}

/// The tick labels of the first figure of `page`, in order.
std::string ticks_of(const std::string& page) {
  const std::string figure = page.substr(0, page.find("</figure>"));
  std::string ticks;
  for (size_t at = figure.find("class=\"tick\""); at != figure.npos;
       at = figure.find("class=\"tick\"", at + 1)) {
    const size_t from = figure.find('>', at) + 1;
    ticks += figure.substr(from, figure.find('<', from) - from) + " ";
  }
  return ticks;
}

TEST(SweepPage, SweepsBesideEachOtherHaveOneScale) {
  SweepTable low = bowls("mup", 4e-3, 0), high = bowls("sp", 8e-3, 1);
  for (SweepRow& row : high.rows) row.loss += 1;
  const std::string page = sweep_page("both", {{"low", low}, {"high", high}});
  const std::string first = ticks_of(page);
  EXPECT_NE(first, "");
  EXPECT_EQ(ticks_of(page.substr(page.find("</figure>") + 9)), first);
  EXPECT_NE(ticks_of(sweep_page("one", {{"low", low}})), first);
}

TEST(SweepPage, DivergedTrialsAreSeen) {
  SweepTable table = bowls("mup", 4e-3, 0);
  EXPECT_EQ(count(sweep_page("x", {{"x", table}}), "<title>"), 4u)
      << "the page's, and of three optima";
  for (SweepRow& row : table.rows)  // one of two seeds at the last value, both at the one before
    if (row.width == 128 &&
        (row.values[0] == "0.016" || (row.values[0] == "0.032" && row.seed == 2)))
      row.loss = std::numeric_limits<double>::quiet_NaN();
  const std::string page = sweep_page("x", {{"x", table}});
  EXPECT_EQ(test::tag_problem(page), "");
  EXPECT_EQ(count(page, "<title>0.016</title></path>"), 1u);
  EXPECT_EQ(count(page, "<title>0.032</title></path>"), 1u);
  EXPECT_EQ(count(page, "<td>3</td>"), 1u) << "in the table, too";
}

TEST(SweepPage, ReportTakesTheFolderOfASweep) {
  const test::TempDir folder;
  for (const auto& [name, kind] : {std::pair{"a", "mup"}, {"b", "sp"}}) {
    fs::create_directories(folder.path() / name);
    write_file_atomically(folder.path() / name / "sweep.csv", to_csv(bowls(kind, 4e-3, 0)));
  }
  fs::create_directories(folder.path() / "run");
  const auto report = [&](const std::string& arguments) {
    return test::run_program("report " + arguments, folder.path(), "");
  };
  ASSERT_EQ(report("a").code, 0);
  EXPECT_EQ(count(test::slurp(folder.path() / "a" / "report.html"), "<figure>"), 2u);
  ASSERT_EQ(report("compare a b/ --out both.html").code, 0);
  EXPECT_NE(test::slurp(folder.path() / "both.html").find("a and b"), std::string::npos);
  const test::ProgramResult mixed = report("compare a run");
  EXPECT_EQ(mixed.code, 2);
  EXPECT_NE(mixed.err.find("a is a sweep and run is none"), std::string::npos) << mixed.err;
}

}  // namespace
}  // namespace isoflop
