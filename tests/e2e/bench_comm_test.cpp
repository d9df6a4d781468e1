// `bench comm` and `launch --simulate` with what the first has measured. How fast anything is, is
// not tested.
#include "parallel/communicator.hpp"
#include "tests/support/mpirun.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace isoflop {
namespace {

using nlohmann::json;

const std::vector<std::string> kTiny = {
    "model.layers=2",       "model.d_model=32",          "model.heads=2",    "model.context=16",
    "model.vocabulary=300", "schedule.batch_tokens=256", "schedule.slots=8", "compute.dtype=fp32",
    "schedule.steps=10",    "data.tokenizer=bytes"};

/// The later of two values of a key counts.
std::vector<std::string> with_tiny(std::vector<std::string> words,
                                   const std::vector<std::string>& changes = {}) {
  words.insert(words.end(), kTiny.begin(), kTiny.end());
  words.insert(words.end(), changes.begin(), changes.end());
  return words;
}

TEST(BenchComm, MeasuresAndSimulates) {
  if (mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
  if (!test::has_mpirun()) GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
  const test::TempDir folder;
  const std::string file = (folder.path() / "here.json").string();
  for (const char* stages : {"parallel.pp=1", "parallel.tp=2", "parallel.pp=2"}) {
    std::vector<std::string> words =
        with_tiny({"bench", "comm", "--steps", "2", "--rounds", "2", "--json", stages});
    const test::ProgramResult result = test::run_on_ranks(2, words);
    ASSERT_EQ(result.code, 0) << result.err;
    const json measured = json::parse(result.out);
    for (const char* key :
         {"step_ms", "silent_step_ms", "plain_step_ms", "one_rank_step_ms", "simulated_step_ms",
          "closed_form_step_ms", "wire_gb_per_s", "latency_us", "rank_flops", "ranks_per_core"})
      EXPECT_GT(measured[key].get<double>(), 0) << key;
    EXPECT_GE(measured["held_up_ns_per_byte"].get<double>(), 0);
    // What stages and parts wait for is no matter of hiding.
    for (const char* key : {"hidden", "data_hidden"}) {
      ASSERT_EQ(measured[key].is_number(), std::string(stages) == "parallel.pp=1") << key;
      if (measured[key].is_number()) {
        EXPECT_LE(measured[key].get<double>(), 1) << key;
      }
    }
    EXPECT_EQ(measured["ranks_per_host"], 2);
    EXPECT_EQ(measured["messages"].size(), 4u);
    std::ofstream(file) << result.out;
  }

  const std::string text = (folder.path() / "text.txt").string();
  std::ofstream(text) << "a text of a few words";
  const std::string steps = (folder.path() / "steps.json").string();
  const test::ProgramResult simulated = test::run_isoflop(with_tiny(
      {"launch", "--simulate", "4", "--hardware", file, "--timeline", steps, "--json", "--out",
       (folder.path() / "run").string(), "data.train=[\"" + text + "\"]", "parallel.pp=2"}));
  ASSERT_EQ(simulated.code, 0) << simulated.err;
  const json step = json::parse(simulated.out);
  EXPECT_EQ(step["simulated"], true);
  EXPECT_EQ(step["layout"]["dp"], 2);
  EXPECT_EQ(step["slots"], 8);
  EXPECT_GT(step["step_seconds"].get<double>(), 0);
  EXPECT_FALSE(json::parse(test::slurp(steps))["traceEvents"].empty());
}

TEST(BenchComm, OneRankIsRefused) {
  const test::ProgramResult result = test::run_isoflop(with_tiny({"bench", "comm"}));
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("mpirun -n 2"), std::string::npos) << result.err;
}

TEST(LaunchSimulate, HardwareMustMatchTheRanks) {
  const test::TempDir folder;
  const std::string text = (folder.path() / "text.txt").string();
  std::ofstream(text) << "a text of a few words";
  const auto simulate = [&](const std::vector<std::string>& words) {
    return test::run_isoflop(
        with_tiny({"launch", "--simulate", "64", "data.train=[\"" + text + "\"]"}, words));
  };
  EXPECT_EQ(simulate({}).code, 2);
  EXPECT_EQ(simulate({"--hardware", "8xh100"}).code, 2);
  const test::ProgramResult refused = simulate({"--hardware", "8x8xh100"});  // 16 sequences
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("64 ranks cannot share 8 slots"), std::string::npos) << refused.err;
  const test::ProgramResult result = simulate(
      {"--hardware", "8x8xh100", "schedule.batch_tokens=8192", "schedule.slots=auto", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out)["layout"]["dp"], 64);
}

}  // namespace
}  // namespace isoflop
