// Pages: that they are whole, need nothing from outside, show what the run folder holds, and that
// nothing in it becomes markup. And the comparison of two loss curves.
#include "report/run_report.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"
#include "report/page.hpp"
#include "tests/report/tags.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

namespace isoflop {
namespace {

class RunReport : public FolderTest {
 protected:
  RunRecord record(const std::string& name, double shift = 0) {
    std::string lines;
    for (int step = 1; step <= 700; ++step)
      lines += "{\"step\":" + std::to_string(step) + ",\"train/loss\":" +
               std::to_string(3 + 5.0 / step + shift +
                              0.1 * normal01(1, 2, static_cast<uint64_t>(step))) +
               (step % 100 == 0 ? ",\"valid/loss\":3.125,\"valid/books/loss\":3.5" : "") +
               ",\"optim/lr\":0.001,\"optim/grad_norm\":" + (step == 5 ? "null" : "1.5") +
               ",\"perf/tokens_per_s\":1000,\"perf/step_ms\":100,\"perf/mfu\":0.5,\"time\":1.5}\n";
    write(name + "/metrics.jsonl", lines + "{\"step\":701,\"tra");
    write(name + "/config.toml", "# <script>alert(1)</script>\n");
    write(name + "/samples/step-00000100.txt", "He said \"<b>no</b>\" & left\xff.");
    return read_run_record(path(name));
  }
};

TEST_F(RunReport, IsOneWholePageThatNeedsNothingElse) {
  const std::string page = run_page(record("first"), {{"parameters", "12M"}});
  EXPECT_EQ(test::tag_problem(page), "");
  for (const char* outside : {"http", "src=", "url(", "@import", "<script"})
    EXPECT_EQ(page.find(outside), page.npos) << outside;
  EXPECT_NE(page.find("prefers-color-scheme: dark"), page.npos);
}

TEST_F(RunReport, ShowsWhatTheFolderHolds) {
  const std::string page = run_page(record("first"), {{"parameters", "12M"}});
  for (const char* shown :
       {"Run first", "12M", "3.1250 nats per token", "1m10s", "valid/books", "Gradient norm",
        "step-00000100", "He said &quot;&lt;b&gt;no&lt;/b&gt;&quot; &amp; left\uFFFD.",
        "&lt;script&gt;alert(1)"})
    EXPECT_NE(page.find(shown), page.npos) << shown;
}

TEST_F(RunReport, DrawsThePlanAndWhereTheRunIsHeading) {
  std::string lines;
  for (int step = 1; step <= 20; ++step)
    lines += "{\"step\":" + std::to_string(step) +
             ",\"train/loss\":3.5,\"plan/loss\":3.25,\"plan/low\":3,\"plan/high\":3.375,"
             "\"plan/final_loss\":3.0625}\n";
  write("planned/metrics.jsonl", lines);
  const std::string page = run_page(read_run_record(path("planned")), {});
  EXPECT_EQ(test::tag_problem(page), "");
  for (const char* shown : {"3.2500 (3.0000 to 3.3750)", "3.0625 nats per token", " plan</text>",
                            "class=\"band", "dashed"})
    EXPECT_NE(page.find(shown), page.npos) << shown;
}

TEST_F(RunReport, SaysWhatIsMissing) {
  EXPECT_THROW(read_run_record(path("nowhere")), UserError);
  write("bare/metrics.jsonl", "");
  EXPECT_EQ(test::tag_problem(run_page(read_run_record(path("bare")), {})), "");
}

TEST_F(RunReport, ComparesTwoRuns) {
  const RunRecord a = record("first"), b = record("second", 0.25);
  const std::string page = comparison_page(a, b, {{"optimizer.lr", "0.001", "0.002"}});
  EXPECT_EQ(test::tag_problem(page), "");
  for (const char* shown : {"first and second", "first is lower by 0.25", "optimizer.lr", "0.002"})
    EXPECT_NE(page.find(shown), page.npos) << shown;
}

MetricSeries noisy(double level, uint64_t stream, int steps = 1000) {
  MetricSeries series;
  for (int step = 1; step <= steps; ++step) {
    series.steps.push_back(step);
    series.values.push_back(level + 0.1 * normal01(7, stream, static_cast<uint64_t>(step)));
  }
  return series;
}

TEST(CompareLosses, CoversTheTrueDifferenceAsOftenAsItSays) {
  int covered = 0;
  constexpr int kTrials = 400;
  for (uint64_t trial = 0; trial < kTrials; ++trial) {
    const LossDifference found = compare_losses(noisy(3, 2 * trial), noisy(3.01, 2 * trial + 1));
    EXPECT_EQ(found.first_step, 801);
    EXPECT_EQ(found.last_step, 1000);
    covered += std::abs(found.mean - 0.01) <= found.half_width;
  }
  // 380 expected, with a standard deviation of 4.4.
  EXPECT_GE(covered, 380 - 18);
  EXPECT_LE(covered, 380 + 18);
}

TEST(CompareLosses, SameRunsAreEqualAndShortOnesUnknown) {
  const MetricSeries a = noisy(3, 1);
  const LossDifference same = compare_losses(a, a);
  EXPECT_EQ(same.mean, 0);
  EXPECT_FALSE(same.clear());
  EXPECT_EQ(in_words(same, "a", "b"), "the losses are equal over steps 801 to 1000");
  EXPECT_EQ(compare_losses(noisy(3, 1, 99), noisy(3, 2, 99)).blocks, 0);
  EXPECT_NE(in_words({}, "a", "b").find("too few"), std::string::npos);
}

TEST(CompareLosses, OnlyCommonFiniteStepsCount) {
  MetricSeries a = noisy(3, 1), b = noisy(2, 1);
  a.values[990] = NAN;
  b.steps.resize(995);
  b.values.resize(995);
  const LossDifference found = compare_losses(a, b);
  EXPECT_EQ(found.last_step, 995);
  EXPECT_NEAR(found.mean, -1, 1e-9);
  EXPECT_TRUE(found.clear());
  EXPECT_TRUE(in_words(found, "a", "b").starts_with("b is lower by 1.0000"));
}

TEST(Page, EscapesEverythingThatIsNotText) {
  EXPECT_EQ(escaped("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
  EXPECT_EQ(escaped(std::string("x\0\x1b[1m\xc3(", 8)), "x\uFFFD\uFFFD[1m\uFFFD(");
  EXPECT_EQ(escaped("tab\tline\n\u00e9\u4e2d"), "tab\tline\n\u00e9\u4e2d");
}

}  // namespace
}  // namespace isoflop
