// `isoflop launch --check` with real ranks: whoever has another program, config or data is named.
#include "parallel/communicator.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/mpirun.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

class LaunchCheck : public testing::Test {
 protected:
  void SetUp() override {
    if (mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
    if (!test::has_mpirun()) GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
    for (const char* node : {"a", "b"}) {  // what two hosts see under the same names
      fs::create_directories(folder_.path() / node);
      test::write_text(folder_.path() / node / "text.txt", test::tiny_text(20'000));
      test::write_text(folder_.path() / node / "run.toml",
                       test::tiny_config("text.txt", "compute.threads = 1\n"));
    }
  }
  fs::path at(const char* node, const char* file) const { return folder_.path() / node / file; }

  /// One rank in each of the two folders, the second with this program.
  test::ProgramResult check(const std::string& second_program = ISOFLOP_PROGRAM) const {
    const std::vector<std::string> rest = {"launch", "--check",  "--check-seconds",
                                           "0.1",    "run.toml", "--json"};
    std::vector<std::string> words = {"mpirun", "--timeout",          "120",          "-n", "1",
                                      "--wdir", at("a", "").string(), ISOFLOP_PROGRAM};
    words.insert(words.end(), rest.begin(), rest.end());
    const std::vector<std::string> second = {
        ":", "-n", "1", "--wdir", at("b", "").string(), second_program};
    words.insert(words.end(), second.begin(), second.end());
    words.insert(words.end(), rest.begin(), rest.end());
    return test::Program(test::Program::Words{words}, test::rank_environment()).wait();
  }
  /// What is no matter of speed, which differs from run to run.
  static std::vector<json> findings(const json& report) {
    std::vector<json> found;
    for (const json& one : report["findings"])
      if (one["kind"] != "slow") found.push_back(one);
    return found;
  }
  static void expect_found(const test::ProgramResult& result, const std::string& words) {
    EXPECT_EQ(result.code, 3) << result.err;
    const std::vector<json> found = findings(json::parse(result.out));
    ASSERT_EQ(found.size(), 1u) << result.out;
    EXPECT_EQ(found[0]["ranks"], json({1})) << result.out;
    EXPECT_NE(found[0]["text"].get<std::string>().find(words), std::string::npos) << result.out;
  }

  test::TempDir folder_;
};

TEST_F(LaunchCheck, RanksThatAgreeTakeTheStepOfOne) {
  const fs::path run = folder_.path() / "run";
  for (const char* stages : {"parallel.pp=1", "parallel.pp=2"}) {
    const test::ProgramResult result = test::run_isoflop(
        {"launch", "-n", "4", "--check", "--check-seconds", "0.1", at("a", "run.toml").string(),
         "data.train=[\"" + at("a", "text.txt").string() + "\"]", stages, "--out", run.string(),
         "--json", "--quiet"},
        test::rank_environment());
    const json report = json::parse(result.out);
    EXPECT_TRUE(findings(report).empty()) << result.out;
    EXPECT_EQ(result.code, report["pass"].get<bool>() ? 0 : 3) << result.err;
    EXPECT_EQ(report["ranks"].size(), 4u);
    EXPECT_EQ(report["links"].size(), 6u);
    EXPECT_EQ(report["parameters_together"].get<std::string>().size(), 16u);
    EXPECT_FALSE(fs::exists(run));
  }
}

TEST_F(LaunchCheck, TwoFoldersWithTheSameAreTheSame) {
  const test::ProgramResult result = check();
  EXPECT_TRUE(findings(json::parse(result.out)).empty()) << result.out;
}

TEST_F(LaunchCheck, OtherDataIsNamed) {
  std::string text = test::slurp(at("b", "text.txt"));
  text[text.size() / 2] ^= 1;
  test::write_text(at("b", "text.txt"), text);
  expect_found(check(), "its data (");
}

TEST_F(LaunchCheck, MissingDataIsNamed) {
  fs::remove(at("b", "text.txt"));
  expect_found(check(), "text.txt");
}

TEST_F(LaunchCheck, AnotherConfigIsNamed) {
  test::write_text(at("b", "run.toml"), test::slurp(at("b", "run.toml")) + "data.seed = 5\n");
  expect_found(check(), "its config (");
}

TEST_F(LaunchCheck, AnotherProgramIsNamed) {
  const fs::path copy = folder_.path() / "isoflop";
  fs::copy_file(ISOFLOP_PROGRAM, copy);
  std::ofstream(copy, std::ios::app) << "one more line";
  expect_found(check(copy.string()), "its program (");
}

TEST_F(LaunchCheck, BadInputIsSaidBeforeAnythingStarts) {
  const test::ProgramResult result = test::run_isoflop(
      {"launch", "-n", "2", "--check", at("a", "run.toml").string(), "model.layerz=3"},
      test::rank_environment());
  EXPECT_EQ(result.code, 2) << result.err;
}

}  // namespace
}  // namespace isoflop
