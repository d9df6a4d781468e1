// What a run says about itself besides its losses, and that saying it changes no bit.
#include "parallel/communicator.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/mpirun.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <map>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class Telemetry : public testing::Test {
 protected:
  void SetUp() override {
    write_text(dir.path() / "run.toml",
               tiny_config(write_text(dir.path() / "text.txt", tiny_text(20000))));
  }
  ProgramResult train(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train",
                                          (dir.path() / "run.toml").string(),
                                          "--out",
                                          (dir.path() / out).string(),
                                          "schedule.steps=6",
                                          "eval.every=3"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_isoflop(arguments);
  }
  TempDir dir;
};

TEST_F(Telemetry, StatisticsOfEveryParameterOnRequest) {
  ASSERT_EQ(train("plain").code, 0);
  ASSERT_EQ(train("run", {"output.layer_stats_every=3", "output.tensorboard=true"}).code, 0);
  const auto plain = deterministic_metrics(dir.path() / "plain"),
             lines = deterministic_metrics(dir.path() / "run");
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(plain[1], lines[1]) << "only every third step";
  const auto step = nlohmann::json::parse(lines[2]);
  double squares = 0;
  int parameters = 0;
  for (const auto& [name, value] : step.items()) {
    if (name.rfind("layer/", 0) != 0) continue;
    const std::string what = name.substr(name.rfind('/') + 1);
    if (what == "grad_norm") squares += value.get<double>() * value.get<double>(), ++parameters;
    // A step of AdamW moves every entry by about the rate, here 1e-2 of weights of 0.02 or more.
    if (what == "update_ratio") {
      EXPECT_LT(value.get<double>(), 1) << name;
    }
  }
  EXPECT_GT(parameters, 20);
  // Sums of squares in another order, in double: a few units in the last place.
  EXPECT_NEAR(std::sqrt(squares), step.at("optim/grad_norm").get<double>(), 1e-12);
  EXPECT_EQ(step.at("params/hash"), nlohmann::json::parse(plain[2]).at("params/hash"));
}

TEST_F(Telemetry, AProfileShowsPassesAndOperationsAndChangesNothing) {
  ASSERT_EQ(train("plain").code, 0);
  const fs::path trace = dir.path() / "trace.json";
  ASSERT_EQ(train("run", {"--profile", trace.string()}).code, 0);
  EXPECT_EQ(deterministic_metrics(dir.path() / "plain"), deterministic_metrics(dir.path() / "run"));
  std::map<std::string, int> count;
  std::map<std::string, double> time;
  const auto json = nlohmann::json::parse(slurp(trace));
  for (const auto& event : json.at("traceEvents")) {
    if (event.at("ph") != "X") continue;
    ++count[event.at("name")];
    time[event.at("name")] += event.at("dur").get<double>();
  }
  const int micro_batches = 6 * 4 * 2;
  EXPECT_EQ(count["step"], 6);
  EXPECT_EQ(count["optimizer"], 6);
  EXPECT_GT(count["forward"], micro_batches) << "validation has forward passes, too";
  EXPECT_EQ(count["backward"], micro_batches);
  EXPECT_EQ(count["data"], micro_batches * 2) << "one a sequence";
  EXPECT_EQ(count["validation"], 2);
  EXPECT_EQ(count["checkpoint"], 1);
  EXPECT_GT(count["matmul_grad_weight"], micro_batches);
  EXPECT_LE(time["backward"], time["gradients"]);
  EXPECT_LE(time["gradients"] + time["optimizer"], time["step"]);
}

TEST_F(Telemetry, AProfileOfSeveralRanksShowsTheirMessages) {
  if (mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
  if (!has_mpirun()) GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
  const fs::path trace = dir.path() / "trace.json";
  const ProgramResult result =
      run_on_ranks(2, {"train", (dir.path() / "run.toml").string(), "--out",
                       (dir.path() / "run").string(), "schedule.steps=6", "schedule.slots=4",
                       "compute.threads=1", "--profile", trace.string()});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("% hidden"), std::string::npos) << result.err;
  const auto json = nlohmann::json::parse(slurp(trace));
  std::map<std::pair<int, int>, std::string> rows;
  for (const auto& event : json.at("traceEvents"))
    if (event.at("name") == "thread_name")
      rows[{event.at("pid"), event.at("tid")}] = event.at("args").at("name");
  for (const int rank : {0, 1}) {
    int steps = 0, messages = 0, during_backward = 0;
    std::vector<std::pair<double, double>> backward, wire;
    for (const auto& event : json.at("traceEvents")) {
      if (event.at("ph") != "X" || event.at("pid") != rank) continue;
      const double start = event.at("ts"), end = start + event.at("dur").get<double>();
      EXPECT_GE(start, 0);
      steps += event.at("name") == "step";
      if (event.at("name") == "backward") backward.push_back({start, end});
      if (rows[{rank, event.at("tid")}].rfind("messages", 0) == 0) wire.push_back({start, end});
    }
    messages = static_cast<int>(wire.size());
    for (const auto& [start, end] : wire)
      for (const auto& pass : backward)
        during_backward += start >= pass.first && start < pass.second;
    EXPECT_EQ(steps, 6) << rank;
    EXPECT_GT(messages, 6 * 4) << rank;
    EXPECT_GE(during_backward, 6) << "gradients leave before the pass is over: " << rank;
  }
}

TEST_F(Telemetry, TheProgressLineEndsWithTheShareOfTheLimitAndTheCostliestOperation) {
  const ProgramResult result = train("run");
  ASSERT_EQ(result.code, 0);
  const std::string last = result.err.substr(result.err.find("step 6/6 "));
  const std::string line = last.substr(0, last.find('\n'));
  const size_t share = line.find(" | MFU "), costliest = line.rfind(" | ");
  EXPECT_NE(share, line.npos) << line;
  EXPECT_LT(share, costliest) << line;
  const std::string last_field = line.substr(costliest + 3);  // "matmul_grad_weight 31%"
  const size_t name = last_field.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
  ASSERT_TRUE(name != 0 && name != last_field.npos && last_field[name] == ' ') << line;
  EXPECT_EQ(last_field.find_first_not_of("0123456789", name + 1), last_field.size() - 1) << line;
  EXPECT_EQ(last_field.back(), '%') << line;
  EXPECT_NE(slurp(dir.path() / "run" / "metrics.jsonl").find("\"perf/mfu\":"), std::string::npos);
}

TEST_F(Telemetry, PrometheusAndMemoryAreSaid) {
  const ProgramResult result = train("run");
  ASSERT_EQ(result.code, 0);
  EXPECT_NE(slurp(dir.path() / "run" / "metrics.prom").find("isoflop_train_step{run=\"run\"} 6\n"),
            std::string::npos);
  EXPECT_NE(result.err.find("planned"), std::string::npos) << result.err;
  ASSERT_EQ(train("quiet", {"output.prometheus=false"}).code, 0);
  EXPECT_FALSE(fs::exists(dir.path() / "quiet" / "metrics.prom"));
}

}  // namespace
}  // namespace isoflop
