// Runs on several sources and several validation sets.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;
using Json = nlohmann::json;

class MixtureRun : public testing::Test {
 protected:
  void SetUp() override {
    write_text(dir.path() / "a.txt", tiny_text(20000));
    write_text(dir.path() / "b.jsonl", "{\"text\": \"" + one_line(tiny_text(3000, 2)) + "\"}\n" +
                                           "{\"text\": \"" + one_line(tiny_text(2000, 3)) +
                                           "\"}\n");
    write_text(dir.path() / "v.txt", tiny_text(2000, 4));
    write_text(dir.path() / "w.txt", tiny_text(1000, 5));
    write_config("0.7", "0.3");
  }
  static std::string one_line(std::string text) {
    for (char& c : text)
      if (c == '\n') c = ' ';
    return text;
  }
  void write_config(const std::string& first, const std::string& second) const {
    std::string config = tiny_config("X");
    const std::string train = "data.train = [\"X\"]";
    config.replace(config.find(train), train.size(),
                   "data.train = [{ path = \"" + path("a.txt") + "\", weight = " + first +
                       " }, { path = \"" + path("b.jsonl") + "\", weight = " + second +
                       " }]\ndata.valid = [\"" + path("v.txt") + "\", { path = \"" + path("w.txt") +
                       "\", name = \"web\" }]");
    write_text(dir.path() / "run.toml", config);
  }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  ProgramResult train(const std::string& out, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"train", path("run.toml"), "--out", path(out), "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return run_isoflop(words);
  }
  TempDir dir;
};

TEST_F(MixtureRun, SharesSetsAndResume) {
  ASSERT_EQ(train("whole").code, 0);
  // Both sets have metrics of their own; the one without a name is the main one.
  std::ifstream file(dir.path() / "whole/metrics.jsonl");
  std::string line, last;
  while (std::getline(file, line)) last = line;
  const Json metrics = Json::parse(last);
  EXPECT_TRUE(metrics.contains("valid/loss")) << last;
  EXPECT_TRUE(metrics.contains("valid/bits_per_byte"));
  EXPECT_TRUE(metrics.contains("valid/web/loss"));
  EXPECT_TRUE(metrics.contains("valid/web/bits_per_byte"));
  EXPECT_NE(metrics["valid/loss"], metrics["valid/web/loss"]);

  // What `data mix` expects is what `data batch` shows.
  const Json mix = Json::parse(run_isoflop({"data", "mix", path("whole"), "--json"}).out);
  EXPECT_EQ(mix["sequences"], 60 * 16);
  EXPECT_NEAR(mix["sources"][0]["drawn"].get<double>(), 0.7, 0.002);
  std::map<std::string, int> drawn;
  for (int step = 0; step < 60; ++step) {
    const Json batch = Json::parse(
        run_isoflop({"data", "batch", path("whole"), "--step", std::to_string(step), "--json"})
            .out);
    for (const Json& sequence : batch["sequences"]) ++drawn[sequence["source"].get<std::string>()];
  }
  EXPECT_EQ(drawn[path("a.txt")], mix["sources"][0]["sequences"].get<int>());
  EXPECT_EQ(drawn[path("b.jsonl")], mix["sources"][1]["sequences"].get<int>());

  // Killed and continued: the same bits.
  Program killed({"train", path("run.toml"), "--out", path("killed"), "--quiet"},
                 {{"ISOFLOP_FAULT", "rename:40"}});
  EXPECT_EQ(killed.wait().code, -SIGKILL);
  ASSERT_EQ(train("killed", {"--resume", "auto"}).code, 0);
  EXPECT_EQ(run_isoflop({"diff", path("whole"), path("killed")}).code, 0);
}

TEST_F(MixtureRun, OtherWeightsOrOtherTokensAreRefused) {
  ASSERT_EQ(train("run", {"schedule.steps=20"}).code, 0);
  write_config("0.6", "0.4");
  const ProgramResult weights = train("run", {"--resume", "auto", "schedule.steps=20"});
  EXPECT_EQ(weights.code, 2);
  EXPECT_NE(weights.err.find("data.train"), std::string::npos) << weights.err;
  // The same config, but the tokens behind it have changed.
  write_config("0.7", "0.3");
  ASSERT_EQ(run_isoflop({"data", "build", "--tokenizer", path("run/tokenizer.json"), "--out",
                         path("run/data/train-1.h5"), "--overwrite", path("w.txt")})
                .code,
            0);
  const ProgramResult tokens = train("run", {"--resume", "auto", "schedule.steps=20"});
  EXPECT_EQ(tokens.code, 2);
  EXPECT_NE(tokens.err.find("other data"), std::string::npos) << tokens.err;
  EXPECT_NE(tokens.err.find("train-1.h5"), std::string::npos) << tokens.err;
}

}  // namespace
}  // namespace isoflop
