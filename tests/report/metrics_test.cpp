#include "report/metrics.hpp"

#include "core/error.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

namespace isoflop {
namespace {

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

class MetricsTest : public testing::Test {
 protected:
  test::TempDir folder_;
  fs::path file_ = folder_.path() / "metrics.jsonl";
};

TEST_F(MetricsTest, LineHoldsDeterministicFieldsFirstAndIsJson) {
  MetricsSink sink(folder_.path());
  const Metric metrics[] = {{"perf/mfu", 0.5}, {"train/loss", 3.1}, {"optim/lr", 0.1 + 0.2}};
  const TextMetric texts[] = {{"params/hash", "00ff"}};
  ASSERT_TRUE(sink.log(7, metrics, texts));
  const std::vector<std::string> lines = lines_of(file_);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(deterministic_part(lines[0]),
            R"({"step":7,"train/loss":3.1,"optim/lr":0.30000000000000004,"params/hash":"00ff"})");
  const auto json = nlohmann::json::parse(lines[0]);
  EXPECT_EQ(json["perf/mfu"], 0.5);
  EXPECT_EQ(json["optim/lr"].get<double>(), 0.1 + 0.2);  // every bit survives
  EXPECT_GT(json["time"].get<double>(), 1e9);
}

TEST_F(MetricsTest, ValuesThatAreNotFiniteStayJson) {
  MetricsSink sink(folder_.path());
  const Metric metrics[] = {{"train/loss", std::nan("")},
                            {"optim/grad_norm", std::numeric_limits<double>::infinity()}};
  const TextMetric texts[] = {{"note", "a \"quote\", \"perf/x\"\n"}};
  ASSERT_TRUE(sink.log(1, metrics, texts));
  const std::string line = lines_of(file_).at(0);
  const auto json = nlohmann::json::parse(line);
  EXPECT_TRUE(json["train/loss"].is_null());
  EXPECT_TRUE(json["optim/grad_norm"].is_null());
  EXPECT_EQ(json["note"], "a \"quote\", \"perf/x\"\n");
  EXPECT_EQ(nlohmann::json::parse(deterministic_part(line))["note"], json["note"]);
}

TEST_F(MetricsTest, ResumedRunHasTheLinesOfAnUndisturbedOne) {
  const auto log = [](MetricsSink& sink, int step) {
    const Metric metrics[] = {{"train/loss", 4.0 / step}, {"perf/step_ms", 1.0 * step}};
    ASSERT_TRUE(sink.log(step, metrics));
  };
  test::TempDir other;
  {
    MetricsSink undisturbed(other.path());
    for (int step = 1; step <= 12; ++step) log(undisturbed, step);
  }
  {
    MetricsSink cut(folder_.path());
    for (int step = 1; step <= 10; ++step) log(cut, step);
  }
  std::ofstream(file_, std::ios::app) << R"({"step":11,"train/l)";  // the kill fell inside a write
  {
    MetricsSink resumed(folder_.path());
    resumed.truncate_after(6);
    for (int step = 7; step <= 12; ++step) log(resumed, step);
  }
  std::vector<std::string> a = lines_of(file_), b = lines_of(other.path() / "metrics.jsonl");
  for (std::string& line : a) line = deterministic_part(line);
  for (std::string& line : b) line = deterministic_part(line);
  EXPECT_EQ(a.size(), 12u);
  EXPECT_EQ(a, b);
}

TEST_F(MetricsTest, TornLineDoesNotSpoilTheNextOne) {
  std::ofstream(file_) << R"({"step":1,"tr)";
  MetricsSink sink(folder_.path());
  ASSERT_TRUE(sink.log(2, {}));
  EXPECT_EQ(deterministic_part(lines_of(file_).at(1)), R"({"step":2})");
  sink.truncate_after(5);
  ASSERT_EQ(lines_of(file_).size(), 1u);
  EXPECT_EQ(deterministic_part(lines_of(file_)[0]), R"({"step":2})");
}

TEST_F(MetricsTest, FullDiskIsAnAnswerNotAnException) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  fs::create_symlink("/dev/full", file_);
  MetricsSink sink(folder_.path());
  EXPECT_FALSE(sink.log(1, {}));
}

TEST_F(MetricsTest, MissingFolderIsAUserError) {
  EXPECT_THROW(MetricsSink(folder_.path() / "absent"), UserError);
}

}  // namespace
}  // namespace isoflop
