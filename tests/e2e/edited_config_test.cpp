// Going on with a run whose config was edited: what may change is said and done, what may not is
// refused, and a longer run needs --extend.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class EditedConfig : public testing::Test {
 protected:
  void SetUp() override {
    write_text(dir.path() / "run.toml",
               tiny_config(write_text(dir.path() / "text.txt", tiny_text(20000))));
  }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  ProgramResult train(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", path("run.toml"), "--out", path(out)};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_isoflop(arguments);
  }
  ProgramResult resume(const std::string& out, std::vector<std::string> more) const {
    more.insert(more.end(), {"--resume", "auto"});
    return train(out, more);
  }

  TempDir dir;
};

TEST_F(EditedConfig, HarmlessKeysChangeAndAreSaid) {
  ASSERT_EQ(train("whole").code, 0);
  ASSERT_EQ(train("run", {"schedule.decay=linear", "checkpoint.every=13"}).code, 0);
  fs::remove_all(dir.path() / "run" / "checkpoints" / "step-00000060");  // back to step 52
  const ProgramResult resumed =
      resume("run", {"compute.threads=1", "compute.recompute=block", "checkpoint.keep=7"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  for (const char* line : {"changed since step 52:", "compute.threads: \"auto\" -> 1",
                           "compute.recompute: \"none\" -> \"block\"", "checkpoint.keep: 2 -> 7",
                           "checkpoint.every: 13 -> 7"})
    EXPECT_NE(resumed.err.find(line), std::string::npos) << line << "\n" << resumed.err;
  EXPECT_EQ(resumed.err.find("optimizer."), std::string::npos) << resumed.err;
  const ProgramResult difference = run_isoflop({"diff", path("whole"), path("run")});
  EXPECT_EQ(difference.code, 0) << difference.out;
  EXPECT_EQ(deterministic_metrics(path("whole")), deterministic_metrics(path("run")));
}

TEST_F(EditedConfig, WhatARunComputesMayNotChange) {
  ASSERT_EQ(train("run", {"schedule.steps=8"}).code, 0);
  const auto before = slurp(dir.path() / "run" / "config.toml");
  const std::pair<const char*, const char*> cases[] = {
      {"model.layers=3", "model.layers: 2 -> 3"},
      {"data.seed=2", "data.seed: 1 -> 2"},
      {"schedule.slots=2", "schedule.slots: 4 -> 2"},
      {"schedule.decay=cosine", "schedule.decay: \"linear\" -> \"cosine\""},
      {"optimizer.lr=1", "optimizer.lr: 0.01 -> 1"}};
  for (const auto& [assignment, line] : cases) {
    const ProgramResult refused = resume("run", {"schedule.steps=8", assignment, "--extend"});
    EXPECT_EQ(refused.code, 2) << assignment;
    EXPECT_NE(refused.err.find(line), std::string::npos) << refused.err;
    EXPECT_NE(refused.err.find("put the old values back"), std::string::npos) << refused.err;
  }
  EXPECT_EQ(slurp(dir.path() / "run" / "config.toml"), before) << "a refusal changes nothing";
}

TEST_F(EditedConfig, ALongerRunNeedsToBeAskedForAndSaysWhatItMeans) {
  ASSERT_EQ(train("run", {"schedule.steps=8"}).code, 0);
  const ProgramResult refused = resume("run", {"schedule.steps=12"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("--extend"), std::string::npos) << refused.err;
  const ProgramResult longer = resume("run", {"schedule.steps=12", "--extend"});
  ASSERT_EQ(longer.code, 0) << longer.err;
  EXPECT_NE(longer.err.find("from 8 to 12 steps: the linear decay is stretched"), std::string::npos)
      << longer.err;
  EXPECT_EQ(deterministic_metrics(path("run")).size(), 12u);
  const ProgramResult shorter = resume("run", {"schedule.steps=10", "--extend"});
  EXPECT_EQ(shorter.code, 2);
  EXPECT_NE(shorter.err.find("shorter"), std::string::npos) << shorter.err;
}

// The rates of a constant schedule do not depend on its length: extended = planned that long.
TEST_F(EditedConfig, ExtendingAConstantScheduleIsTheLongRun) {
  const std::vector<std::string> constant = {"schedule.decay=constant", "schedule.warmup=2steps",
                                             "eval.every=100"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), constant.begin(), constant.end());
    return more;
  };
  ASSERT_EQ(train("whole", with({"schedule.steps=12"})).code, 0);
  ASSERT_EQ(train("run", with({"schedule.steps=8"})).code, 0);
  const ProgramResult longer = resume("run", with({"schedule.steps=12", "--extend"}));
  ASSERT_EQ(longer.code, 0) << longer.err;
  EXPECT_NE(longer.err.find("as if planned that long"), std::string::npos) << longer.err;
  EXPECT_EQ(run_isoflop({"diff", path("whole"), path("run")}).code, 0);
}

}  // namespace
}  // namespace isoflop
