// Whole runs with compute.dtype = "bf16": the promises of fp32 hold, and the losses stay beside
// its.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class Bf16Run : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string text = write_text(dir.path() / "text.txt", tiny_text(20000));
    write_text(dir.path() / "run.toml",
               tiny_config(text, std::string("model.arch = \"") + GetParam() + "\"\n"));
  }
  ProgramResult train(const std::string& out, std::vector<std::string> more) const {
    more.insert(more.begin(), {"train", (dir.path() / "run.toml").string(), "--out",
                               (dir.path() / out).string(), "--quiet"});
    return run_isoflop(more);
  }
  std::vector<double> losses(const std::string& run) const {
    std::vector<double> result;
    std::ifstream file(dir.path() / run / "metrics.jsonl");
    for (std::string line; std::getline(file, line);) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains("train/loss")) result.push_back(json.at("train/loss").get<double>());
    }
    return result;
  }
  void expect_same_run(const std::string& a, const std::string& b) const {
    const ProgramResult difference =
        run_isoflop({"diff", (dir.path() / a).string(), (dir.path() / b).string()});
    EXPECT_EQ(difference.code, 0) << difference.out << difference.err;
    EXPECT_EQ(deterministic_metrics(dir.path() / a), deterministic_metrics(dir.path() / b));
  }

  TempDir dir;
};

TEST_P(Bf16Run, ThreadsRecomputationAndResumingDoNotChangeTheBits) {
  ASSERT_EQ(train("one", {"compute.dtype=bf16", "compute.threads=1"}).code, 0);
  ASSERT_EQ(train("two", {"compute.dtype=bf16", "compute.threads=2"}).code, 0);
  expect_same_run("one", "two");
  ASSERT_EQ(train("again", {"compute.dtype=bf16", "compute.recompute=block"}).code, 0);
  expect_same_run("one", "again");

  // A run that was cut after step 56, the last checkpoint but one.
  fs::copy(dir.path() / "one", dir.path() / "cut", fs::copy_options::recursive);
  fs::remove_all(dir.path() / "cut/checkpoints/step-00000060");
  ASSERT_EQ(train("cut", {"--resume", "auto", "compute.dtype=bf16"}).code, 0);
  expect_same_run("one", "cut");
}

// At this rate a run is not chaotic yet; at 1e-2 a change of the rate by 1e-3 of itself moves
// single losses by 0.1, and bf16 those of gpt3 by 0.17: chaos or a bias, which one seed does not
// tell.
TEST_P(Bf16Run, LossesStayBesideThoseOfFp32) {
  const std::string rate = "optimizer.lr=2e-3";
  ASSERT_EQ(train("fp32", {"schedule.steps=100", rate}).code, 0);
  ASSERT_EQ(train("bf16", {"schedule.steps=100", rate, "compute.dtype=bf16"}).code, 0);
  const std::vector<double> want = losses("fp32"), got = losses("bf16");
  ASSERT_EQ(want.size(), 100u);
  ASSERT_EQ(got.size(), 100u);
  double largest = 0;
  for (size_t i = 0; i < 100; ++i) largest = std::max(largest, std::abs(got[i] - want[i]));
  // Two roundings by up to 2^-8, of the residual stream and of the logits, of losses from 5.7 down
  // to 2.7. Seen: 0.001 (llama), 0.006 (gpt3), 0.02 (pythia).
  EXPECT_LT(largest, 2 * 0x1p-8 * 5.7);
  EXPECT_GT(largest, 0) << "bf16 was not in use";
}

TEST_P(Bf16Run, WritesSamplesWithoutChangingTheRun) {
  ASSERT_EQ(train("quiet", {"compute.dtype=bf16", "schedule.steps=20"}).code, 0);
  ASSERT_EQ(
      train("writing", {"compute.dtype=bf16", "schedule.steps=20", "eval.sample_every=5"}).code, 0);
  const ProgramResult difference =
      run_isoflop({"diff", (dir.path() / "quiet").string(), (dir.path() / "writing").string()});
  EXPECT_EQ(difference.code, 0) << difference.out << difference.err;
}

TEST_P(Bf16Run, TheTypeBelongsToTheRun) {
  ASSERT_EQ(train("run", {"compute.dtype=bf16", "schedule.steps=10"}).code, 0);
  std::ifstream plan(dir.path() / "run/kernel-plan.json");
  EXPECT_EQ(nlohmann::json::parse(plan).at("dtype"), "bf16");
  const ProgramResult refused =
      train("run", {"--resume", "auto", "compute.dtype=fp32", "schedule.steps=10"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("compute.dtype"), std::string::npos) << refused.err;
}

INSTANTIATE_TEST_SUITE_P(Architectures,
                         Bf16Run,
                         testing::Values("gpt3", "llama", "pythia"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace isoflop
