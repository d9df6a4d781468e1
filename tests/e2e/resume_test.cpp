// A run that is killed, stopped or continued on other threads gives the bits of an undisturbed one.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class Resume : public testing::Test {
 protected:
  void SetUp() override {
    write_text(dir.path() / "run.toml",
               tiny_config(write_text(dir.path() / "text.txt", tiny_text(20000))));
  }
  std::vector<std::string> train(const std::string& out,
                                 const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", (dir.path() / "run.toml").string(), "--out",
                                          path(out), "--quiet"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  void expect_same_run(const std::string& a, const std::string& b) const {
    const ProgramResult difference = run_isoflop({"diff", path(a), path(b)});
    EXPECT_EQ(difference.code, 0) << difference.out << difference.err;
    const auto lines_a = deterministic_metrics(dir.path() / a),
               lines_b = deterministic_metrics(dir.path() / b);
    ASSERT_EQ(lines_a.size(), 60u);
    EXPECT_EQ(lines_a, lines_b);
  }

  TempDir dir;
};

TEST_F(Resume, ThreadsAndRepetitionDoNotChangeTheBits) {
  ASSERT_EQ(run_isoflop(train("a", {"compute.threads=1"})).code, 0);
  for (const char* threads : {"1", "2", "3"}) {
    const std::string name = std::string("b") + threads;
    ASSERT_EQ(run_isoflop(train(name, {std::string("compute.threads=") + threads})).code, 0);
    expect_same_run("a", name);
  }
}

TEST_F(Resume, RecomputationDoesNotChangeTheBits) {
  ASSERT_EQ(run_isoflop(train("a")).code, 0);
  ASSERT_EQ(run_isoflop(train("b", {"compute.recompute=block"})).code, 0);
  expect_same_run("a", "b");
}

TEST_F(Resume, StoppingBySignalSavesAndGoesOn) {
  ASSERT_EQ(run_isoflop(train("whole")).code, 0);
  const std::pair<int, int> signals[] = {{SIGTERM, 75}, {SIGUSR1, 75}, {SIGINT, 130}};
  int index = 0;
  for (const auto& [signal, code] : signals) {
    const std::string name = "stopped" + std::to_string(index++);
    Program program(train(name, {"checkpoint.every=0"}));
    while (deterministic_metrics(dir.path() / name).size() < 3)
      ASSERT_FALSE(program.ended_within(std::chrono::milliseconds(1))) << "too fast to be stopped";
    program.send(signal);
    const ProgramResult stopped = program.wait();
    if (stopped.code == 0) GTEST_SKIP() << "the run ended before the signal arrived";
    EXPECT_EQ(stopped.code, code) << stopped.err;
    ASSERT_EQ(run_isoflop(train(name, {"--resume", "auto"})).code, 0);
    expect_same_run("whole", name);
  }
}

// Steps of 128, 256, 384, then 512 tokens; stopped after each of the first six.
TEST_F(Resume, ABatchThatGrowsGoesOnWhereItWas) {
  const std::vector<std::string> ramp = {"schedule.batch_tokens=512", "schedule.batch_ramp=1000"};
  const ProgramResult whole = run_isoflop(train("whole", [&] {
    std::vector<std::string> words = ramp;
    words.push_back("--json");
    return words;
  }()));
  ASSERT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(nlohmann::json::parse(whole.out)["tokens"], 3 * 128 + 2 * 256 + 384 + 54 * 512);
  std::vector<std::string> resumed = ramp;
  resumed.insert(resumed.end(), {"--resume", "auto"});
  fs::create_directories(dir.path() / "parts");
  for (int i = 0; i < 6; ++i) {
    write_text(dir.path() / "parts" / "stop", "");
    ASSERT_EQ(run_isoflop(train("parts", resumed)).code, 75);
  }
  ASSERT_EQ(run_isoflop(train("parts", resumed)).code, 0);
  expect_same_run("whole", "parts");
  for (const auto& [step, sequences] : {std::pair{"2", 8}, {"3", 16}, {"5", 24}, {"6", 32}}) {
    const ProgramResult batch =
        run_isoflop({"data", "batch", path("whole"), "--step", step, "--json"});
    ASSERT_EQ(batch.code, 0) << batch.err;
    EXPECT_EQ(nlohmann::json::parse(batch.out)["sequences"].size(), sequences) << step;
  }
  resumed[1] = "schedule.batch_ramp=2000";
  EXPECT_EQ(run_isoflop(train("whole", resumed)).code, 2) << "the order of the data would change";
}

TEST_F(Resume, ADamagedCheckpointIsNamedAndTheOneBeforeIsUsed) {
  ASSERT_EQ(run_isoflop(train("whole")).code, 0);
  ASSERT_EQ(run_isoflop(train("hurt")).code, 0);
  const fs::path newest = dir.path() / "hurt" / "checkpoints" / "step-00000060" / "rank-0000.h5";
  ASSERT_TRUE(fs::exists(newest));
  fs::resize_file(newest, fs::file_size(newest) / 2);
  const ProgramResult resumed =
      run_isoflop({"train", path("run.toml"), "--out", path("hurt"), "--resume", "auto"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("step-00000060"), std::string::npos) << resumed.err;
  EXPECT_NE(resumed.err.find("step-00000056"), std::string::npos) << resumed.err;
  expect_same_run("whole", "hurt");
  fs::resize_file(newest, fs::file_size(newest) / 2);
  const ProgramResult named =
      run_isoflop({"eval", newest.parent_path().string(), "--text", path("text.txt")});
  EXPECT_EQ(named.code, 2);
  EXPECT_NE(named.err.find("rank-0000.h5"), std::string::npos) << named.err;
}

// The promise at its hardest: a hundred kills, half of them at points inside write, fsync and
// rename, half at random moments; after each the run is continued, and the end must be as if
// nothing had happened.
TEST_F(Resume, SlowAHundredKillsLeaveNoTrace) {
  ASSERT_EQ(run_isoflop(train("whole")).code, 0);
  const char* const points[] = {"write", "fsync", "rename"};
  int kills = 0, lives = 0, finished_before_the_kill = 0;
  while (kills < 100) {
    const std::string name = "killed" + std::to_string(lives++);
    for (bool done = false; !done;) {
      std::map<std::string, std::string> environment;
      const uint32_t draw =
          philox(11, 0, static_cast<uint64_t>(kills + finished_before_the_kill))[0];
      const bool at_point = kills % 2 == 0 && kills < 100;
      if (at_point)
        environment["ISOFLOP_FAULT"] =
            std::string(points[draw % 3]) + ":" + std::to_string(1 + draw / 3 % 40);
      Program program(train(name, {"--resume", "auto"}), environment);
      if (!at_point && kills < 100 &&
          !program.ended_within(std::chrono::milliseconds(20 + draw % 400)))
        program.send(SIGKILL);
      const ProgramResult result = program.wait();
      if (result.code == -SIGKILL) {
        ++kills;
        continue;
      }
      ++finished_before_the_kill;
      ASSERT_EQ(result.code, 0) << result.err;
      done = true;
    }
    expect_same_run("whole", name);
    fs::remove_all(dir.path() / name);
  }
  RecordProperty("kills", kills);
  RecordProperty("lives", lives);
}

}  // namespace
}  // namespace isoflop
