// coordcheck from the command line: what it answers, what it refuses, what it leaves alone.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>

namespace isoflop {
namespace {

using namespace isoflop::test;
using Json = nlohmann::json;

class CoordCheckProgram : public testing::Test {
 protected:
  void SetUp() override {
    const std::string text = write_text(dir.path() / "a.txt", tiny_text(20000));
    write_text(dir.path() / "run.toml", tiny_config(text));
  }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  ProgramResult check(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {
        "coordcheck", path("run.toml"), "--quiet", "--json", "--seeds", "1", "--steps", "4"};
    words.insert(words.end(), more.begin(), more.end());
    return run_isoflop(words);
  }
  TempDir dir;
};

TEST_F(CoordCheckProgram, GrowthIsAGateThatFails) {
  const ProgramResult outcome = check(
      {"--widths", "128,32,64", "--depths", "1,2,3", "--out", path("c"), "--page", path("c.html")});
  ASSERT_EQ(outcome.code, 3) << outcome.err;
  const Json json = Json::parse(outcome.out);
  EXPECT_FALSE(json["pass"]);
  EXPECT_FALSE(json["width"]["pass"]);
  EXPECT_GT(json["width"]["modules"]["attention"]["start"]["slope"], 0.5);
  EXPECT_NE(json["width"]["fix"].get<std::string>().find("mup"), std::string::npos);
  EXPECT_EQ(json["width"]["rows"].size(), 3u * 4 * 6);  // sizes, steps, modules
  EXPECT_EQ(json["width"]["rows"][0]["size"], 32);
  EXPECT_TRUE(json["depth"]["modules"]["residual stream"]["judged"]);
  // The same numbers again, from the same seeds.
  const ProgramResult again = check({"--widths", "32,64,128", "--out", path("c")});
  EXPECT_EQ(Json::parse(again.out)["width"], json["width"]);
  EXPECT_EQ(json["file"], path("c.html"));
  const std::string page = slurp(path("c.html"));
  for (const char* shown :
       {"Over the width, sp", "Over the depth, sp", "residual stream: mean |x|"})
    EXPECT_NE(page.find(shown), std::string::npos) << shown;
}

TEST_F(CoordCheckProgram, AMixtureIsBuiltOnceForAllWidths) {
  const std::string text = path("a.txt"), more = write_text(path("b.txt"), tiny_text(20000, 2));
  std::string config = tiny_config("X");
  const std::string train = "data.train = [\"X\"]";
  config.replace(config.find(train), train.size(),
                 "data.train = [{ path = \"" + text + "\", weight = 0.7 }, { path = \"" + more +
                     "\", weight = 0.3 }]");
  write_text(path("run.toml"), config);
  const ProgramResult outcome =
      run_isoflop({"coordcheck", path("run.toml"), "--widths", "32,64,128", "--seeds", "1",
                   "--steps", "4", "--out", path("c")});
  EXPECT_EQ(outcome.code, 3) << outcome.err;
  const std::string learning = "learning the tokenizer";
  const size_t first = outcome.err.find(learning);
  ASSERT_NE(first, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find(learning, first + 1), std::string::npos) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(path("c/data/train-1.h5")));
}

TEST_F(CoordCheckProgram, BadInputIsTheUsersAndStartsNothing) {
  const auto refusal = [this](const std::vector<std::string>& words) {
    std::vector<std::string> all = words;
    all.insert(all.end(), {"--out", path("bad")});
    const ProgramResult outcome = check(all);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    return outcome.err;
  };
  const auto expect_says = [](const std::string& said, const std::string& words) {
    EXPECT_NE(said.find(words), std::string::npos) << said;
  };
  expect_says(refusal({}), "--widths 64,128,256,512");
  expect_says(refusal({"--widths", "64,128"}), "at least three");
  expect_says(refusal({"--widths", "64,128,128"}), "at least three");
  expect_says(refusal({"--widths", "64,,128,256"}), "is no size");
  expect_says(refusal({"--depths", "1,2,99999999"}), "is no size");
  expect_says(refusal({"--widths", "64,128,256", "--steps", "3"}), "--steps");
  expect_says(refusal({"--widths", "30,64,128"}), "no multiple of 16");
  expect_says(refusal({"--widths", "32,64,128", "parametrization.kind=mup"}), "base_d_model");
  EXPECT_FALSE(std::filesystem::exists(path("bad")));
}

// The folder of a run has stores that its checkpoints depend on.
TEST_F(CoordCheckProgram, DoesNotTouchARun) {
  std::filesystem::create_directories(path("run"));
  write_text(path("run/config.toml"), "");
  const ProgramResult outcome = check({"--widths", "32,64,128", "--out", path("run")});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("holds a run"), std::string::npos) << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(path("run/data")));
}

}  // namespace
}  // namespace isoflop
