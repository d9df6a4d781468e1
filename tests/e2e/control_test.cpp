// Control files: `stop` and `save` in the run folder.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>

#include <filesystem>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class ControlFile : public testing::Test {
 protected:
  std::vector<std::string> train(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", (dir.path() / "run.toml").string(), "--out",
                                          run.string(), "checkpoint.every=0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void SetUp() override {
    write_text(dir.path() / "run.toml",
               tiny_config(write_text(dir.path() / "text.txt", tiny_text(20000))));
  }
  std::vector<int64_t> saved() const {
    std::vector<int64_t> steps;
    for (const auto& entry : fs::directory_iterator(run / "checkpoints")) {
      const std::string name = entry.path().filename().string();
      if (name.rfind("step-", 0) == 0) steps.push_back(std::stoll(name.substr(5)));
    }
    std::sort(steps.begin(), steps.end());
    return steps;
  }

  TempDir dir;
  const fs::path run = dir.path() / "run";
};

// Both files lie there before the first step, so what happens does not depend on timing.
TEST_F(ControlFile, StopFinishesTheStepSavesAndEndsWith75) {
  fs::create_directories(run);
  write_text(run / "stop", "");
  write_text(run / "save", "");
  const ProgramResult stopped = run_isoflop(train());
  EXPECT_EQ(stopped.code, 75) << stopped.err;
  EXPECT_NE(stopped.err.find("--resume auto"), std::string::npos) << stopped.err;
  EXPECT_EQ(deterministic_metrics(run).size(), 1u);
  EXPECT_EQ(saved(), std::vector<int64_t>{1});
  EXPECT_FALSE(fs::exists(run / "stop"));
  EXPECT_FALSE(fs::exists(run / "save"));
  EXPECT_EQ(run_isoflop(train({"--resume", "auto"})).code, 0);
  EXPECT_EQ(deterministic_metrics(run).size(), 60u);
}

TEST_F(ControlFile, SaveSavesAndGoesOn) {
  fs::create_directories(run);
  write_text(run / "save", "");
  const ProgramResult result = run_isoflop(train({"checkpoint.keep=0"}));
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(saved(), (std::vector<int64_t>{1, 60}));
  EXPECT_FALSE(fs::exists(run / "save"));
}

TEST_F(ControlFile, TheLogSpacedScheduleKeepsItsCheckpoints) {
  const ProgramResult result =
      run_isoflop(train({"checkpoint.schedule=pythia", "checkpoint.keep=1",
                         "checkpoint.keep_every=25", "schedule.steps=60"}));
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(saved(), (std::vector<int64_t>{0, 1, 2, 4, 8, 16, 25, 32, 50, 60}));
}

}  // namespace
}  // namespace isoflop
