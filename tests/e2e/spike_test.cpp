// A poisoned batch: skipped or rewound, with the same bits whatever happens around it, and replayed
// to the bit afterwards.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

/// Few windows a step, so that garbage in some of them makes a step jump.
class Spike : public testing::Test {
 protected:
  void SetUp() override {
    const std::string text = tiny_text(24000), garbage = "\x01\x02\x03\x7f~}|{`^]\\[Z@?>=<;:987654";
    std::string poisoned = text.substr(0, 12000);
    for (int i = 0; i < 3; ++i) poisoned += garbage;
    poisoned += text.substr(12000);
    write_text(dir.path() / "run.toml", tiny_config(write_text(dir.path() / "text.txt", poisoned)));
  }
  std::vector<std::string> train(const std::string& out,
                                 const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"train",
                                          path("run.toml"),
                                          "--out",
                                          path(out),
                                          "data.tokenizer=bytes",
                                          "data.valid_fraction=0",
                                          "model.context=32",
                                          "schedule.batch_tokens=256",
                                          "schedule.slots=1",
                                          "schedule.micro_batch=8",
                                          "schedule.steps=100",
                                          "checkpoint.keep=0",
                                          "checkpoint.every=10",
                                          "guard.window=32",
                                          "guard.threshold=6",
                                          "optimizer.lr=1e-2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  std::vector<int64_t> steps_with(const std::string& run, const std::string& metric) const {
    std::vector<int64_t> steps;
    for (const std::string& line : deterministic_metrics(dir.path() / run)) {
      const auto json = nlohmann::json::parse(line);
      if (json.contains(metric)) steps.push_back(json.at("step").get<int64_t>());
    }
    return steps;
  }
  nlohmann::json line(const std::string& run, int64_t step) const {
    return nlohmann::json::parse(
        deterministic_metrics(dir.path() / run).at(static_cast<size_t>(step - 1)));
  }
  /// `run` as it was when its newest checkpoint was that of `step`, continued to the end.
  void expect_same_when_killed_after(const std::string& run,
                                     int64_t step,
                                     const std::vector<std::string>& more) const {
    const fs::path copy = dir.path() / (run + "-killed-" + std::to_string(step));
    fs::copy(dir.path() / run, copy, fs::copy_options::recursive);
    for (const auto& entry : fs::directory_iterator(copy / "checkpoints")) {
      const std::string name = entry.path().filename().string();
      if (name.rfind("step-", 0) == 0 && std::stoll(name.substr(5)) > step)
        fs::remove_all(entry.path());
    }
    std::vector<std::string> arguments = train(copy.filename().string(), more);
    arguments.insert(arguments.end(), {"--resume", "auto"});
    const ProgramResult resumed = run_isoflop(arguments);
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_EQ(deterministic_metrics(copy), deterministic_metrics(dir.path() / run)) << step;
    const ProgramResult difference = run_isoflop({"diff", path(run), copy.string()});
    EXPECT_EQ(difference.code, 0) << difference.out;
    EXPECT_EQ(state(copy), state(dir.path() / run));
  }
  /// What the newest checkpoint remembers.
  static std::string state(const fs::path& run) {
    return slurp(run / "checkpoints" / "step-00000100" / "state.json");
  }
  void expect_replays(const std::string& run, int64_t step) const {
    const ProgramResult result =
        run_isoflop({"replay", path(run), "--step", std::to_string(step), "--json"});
    EXPECT_EQ(result.code, 0) << step << result.out << result.err;
  }

  TempDir dir;
};

TEST_F(Spike, IsSkippedWithTheSameBitsAroundAKill) {
  const std::vector<std::string> skip = {"guard.spikes=skip"};
  const ProgramResult result = run_isoflop(train("run", skip));
  ASSERT_EQ(result.code, 0) << result.err;
  const std::vector<int64_t> skipped = steps_with("run", "train/skipped");
  ASSERT_FALSE(skipped.empty()) << result.err;
  ASSERT_LT(skipped.size(), 10u) << result.err;
  EXPECT_NE(result.err.find("standard deviations"), std::string::npos) << result.err;
  const int64_t at = skipped.front();
  ASSERT_GT(at, 20);
  EXPECT_EQ(line("run", at)["params/hash"], line("run", at - 1)["params/hash"])
      << "a skipped step changes nothing";
  expect_same_when_killed_after("run", (at - 1) / 10 * 10, skip);
  expect_same_when_killed_after("run", (at + 9) / 10 * 10, skip);
  expect_replays("run", at);
  expect_replays("run", at + 1);
}

TEST_F(Spike, IsRewoundWithTheSameBitsAroundAKill) {
  const std::vector<std::string> rewind = {"guard.spikes=rewind", "guard.rewinds=9"};
  const ProgramResult result = run_isoflop(train("run", rewind));
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("going back to step"), std::string::npos) << result.err;
  const std::vector<int64_t> left_out = steps_with("run", "train/left_out");
  ASSERT_GE(left_out.size(), 3u) << result.err;
  EXPECT_TRUE(steps_with("run", "train/skipped").empty());
  const int64_t first = left_out.front();
  ASSERT_GT(first, 20);
  EXPECT_EQ(line("run", first + 2)["params/hash"], line("run", first - 1)["params/hash"]);
  EXPECT_EQ(deterministic_metrics(dir.path() / "run").size(), 100u) << "one line a step";
  expect_same_when_killed_after("run", (first - 1) / 10 * 10 - 10, rewind);
  expect_same_when_killed_after("run", (first + 12) / 10 * 10, rewind);
  for (const int64_t step : {first - 1, first, first + 3}) expect_replays("run", step);

  // Which checkpoints there are to go back to changes no bit: here there is none at all.
  std::vector<std::string> never = rewind;
  never.push_back("checkpoint.every=0");
  ASSERT_EQ(run_isoflop(train("never", never)).code, 0);
  EXPECT_EQ(deterministic_metrics(dir.path() / "never"), deterministic_metrics(dir.path() / "run"));
}

TEST_F(Spike, GivesUpAfterTooManyRewinds) {
  const ProgramResult result =
      run_isoflop(train("run", {"guard.spikes=rewind", "guard.threshold=2", "guard.rewinds=2"}));
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_NE(result.err.find("after 2 rewinds"), std::string::npos) << result.err;
}

TEST_F(Spike, ReplayNamesWhatDiffers) {
  ASSERT_EQ(run_isoflop(train("run", {"schedule.steps=25"})).code, 0);
  const ProgramResult same = run_isoflop({"replay", path("run"), "--step", "25", "--json"});
  ASSERT_EQ(same.code, 0) << same.out << same.err;
  const auto json = nlohmann::json::parse(same.out);
  EXPECT_TRUE(json.at("identical").get<bool>());
  EXPECT_EQ(json.at("from"), 20);
  EXPECT_EQ(json.at("hash"), line("run", 25)["params/hash"]);
  EXPECT_EQ(json.at("loss"), line("run", 25)["train/loss"]);

  const fs::path metrics = dir.path() / "run" / "metrics.jsonl";
  const std::string good = slurp(metrics);
  for (const char* name : {"train/loss", "optim/grad_norm"}) {
    std::string changed = good;
    const size_t at = changed.find(std::string("\"") + name + "\":", changed.find("{\"step\":23"));
    changed[changed.find('.', at) + 3] ^= 1;  // another digit
    write_text(metrics, changed);
    const ProgramResult different = run_isoflop({"replay", path("run"), "--step", "24"});
    EXPECT_EQ(different.code, 1) << different.out << different.err;
    EXPECT_NE(different.out.find("of step 23"), std::string::npos) << different.out;
    EXPECT_EQ(run_isoflop({"replay", path("run"), "--step", "22"}).code, 0);
  }
  write_text(metrics, good);
  EXPECT_EQ(run_isoflop({"replay", path("run"), "--step", "26"}).code, 2);
  fs::remove(dir.path() / "run" / "data" / "train.h5");
  const ProgramResult gone = run_isoflop({"replay", path("run"), "--step", "25"});
  EXPECT_EQ(gone.code, 2);
  EXPECT_NE(gone.err.find("has none built from its text"), std::string::npos) << gone.err;
}

}  // namespace
}  // namespace isoflop
