// A branch off a trunk is the run that was planned to end there.
#include "parallel/communicator.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/mpirun.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <map>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class Anneal : public testing::Test {
 protected:
  void SetUp() override {
    write_text(dir.path() / "run.toml",
               tiny_config(write_text(dir.path() / "text.txt", tiny_text(20000)),
                           "schedule.decay = \"wsd\"\nschedule.warmup = \"3steps\"\n"
                           "checkpoint.keep = 0\n"));
  }
  ProgramResult train(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), "train");
    arguments.push_back("--quiet");
    return run_isoflop(arguments);
  }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  std::map<std::string, std::string> files(const std::string& run) const {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(dir.path() / run))
      if (entry.is_regular_file()) found[entry.path().string()] = slurp(entry.path());
    return found;
  }

  TempDir dir;
};

TEST_F(Anneal, ABranchHasTheBitsOfTheRunPlannedThatLong) {
  ASSERT_EQ(train({path("run.toml"), "--out", path("trunk")}).code, 0);
  const auto before = files("trunk");
  const std::string from = path("trunk/checkpoints/step-00000028");
  // 28 steps and a fifth of all for the cooldown: 35 steps.
  const ProgramResult branch = train({"--anneal-from", from, "--out", path("branch"), "--json"});
  ASSERT_EQ(branch.code, 0) << branch.err;
  EXPECT_NE(branch.out.find("\"steps\":35"), std::string::npos) << branch.out;
  EXPECT_EQ(files("trunk"), before);

  ASSERT_EQ(train({path("run.toml"), "--out", path("whole"), "schedule.steps=35"}).code, 0);
  const ProgramResult difference = run_isoflop({"diff", path("branch"), path("whole")});
  EXPECT_EQ(difference.code, 0) << difference.out << difference.err;
  EXPECT_NE(run_isoflop({"diff", path("branch"), path("trunk")}).code, 0);
  // The branch is a run like any other, and its text is not needed any more.
  fs::remove(dir.path() / "text.txt");
  EXPECT_EQ(train({"--resume", "auto", "--out", path("branch")}).code, 0);
}

TEST_F(Anneal, RanksBranchOffAConstantRunWithTheSameBits) {
  if (mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
  if (!has_mpirun()) GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
  ASSERT_EQ(train({path("run.toml"), "--out", path("trunk"), "schedule.decay=constant"}).code, 0);
  const auto before = files("trunk");
  const ProgramResult ranks =
      run_on_ranks(3, {"train", "--anneal-from", path("trunk/checkpoints/step-00000028/"), "--out",
                       path("ranks"), "compute.threads=1", "schedule.quantize=q4_0", "--quiet"});
  ASSERT_EQ(ranks.code, 0) << ranks.err;
  EXPECT_EQ(files("trunk"), before);
  ASSERT_EQ(train({path("run.toml"), "--out", path("whole"), "schedule.steps=35",
                   "schedule.quantize=q4_0"})
                .code,
            0);
  const ProgramResult difference = run_isoflop({"diff", path("ranks"), path("whole")});
  EXPECT_EQ(difference.code, 0) << difference.out << difference.err;
}

// The fp32 forward pass of the model and of its 4-bit file are one.
TEST_F(Anneal, OnTheGridTheFourBitFileIsTheModel) {
  ASSERT_EQ(train({path("run.toml"), "--out", path("trunk"), "model.output_multiplier=0.7"}).code,
            0);
  const std::string from = path("trunk/checkpoints/step-00000028");
  ASSERT_EQ(train({"--anneal-from", from, "--out", path("branch"), "schedule.quantize=q4_0"}).code,
            0);
  const auto certificate = [&](const std::string& run) {
    const ProgramResult exported = run_isoflop(
        {"export", path(run), "--type", "q4_0", "--out", path(run + ".gguf"), "--json", "--force"});
    EXPECT_EQ(exported.code, 0) << exported.err;
    return nlohmann::json::parse(exported.out)["certificate"];
  };
  const nlohmann::json on_grid = certificate("branch"), plain = certificate("trunk");
  EXPECT_LT(on_grid["weights"]["mean_kl"], 1e-9);
  EXPECT_GT(plain["weights"]["mean_kl"], 1e-5);
  EXPECT_TRUE(on_grid["trained_on_grid"]);
  EXPECT_FALSE(plain["trained_on_grid"]);

  // The branch has the bits of the run that was planned that way.
  ASSERT_EQ(train({path("run.toml"), "--out", path("whole"), "schedule.steps=35",
                   "schedule.quantize=q4_0", "model.output_multiplier=0.7"})
                .code,
            0);
  const ProgramResult same = run_isoflop({"diff", path("branch"), path("whole")});
  EXPECT_EQ(same.code, 0) << same.out << same.err;
}

// Each rank rounds its part of a matrix: heads of 32, so that no cut goes through a block.
TEST_F(Anneal, OnTheGridRanksThatShareMatricesMakeTheSameFourBitFile) {
  if (mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
  if (!has_mpirun()) GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
  ASSERT_EQ(train({path("run.toml"), "--out", path("trunk"), "model.d_model=64",
                   "model.output_multiplier=0.7", "output.layer_stats_every=0"})
                .code,
            0);
  const auto branch = [&](int ranks, const std::string& out) {
    const ProgramResult result =
        run_on_ranks(ranks, {"train", "--anneal-from", path("trunk/checkpoints/step-00000028"),
                             "--out", path(out), "compute.threads=1", "schedule.quantize=q4_0",
                             "parallel.tp=2", "--quiet"});
    EXPECT_EQ(result.code, 0) << result.err;
    const ProgramResult exported = run_isoflop(
        {"export", path(out), "--type", "q4_0", "--out", path(out + ".gguf"), "--json", "--force"});
    EXPECT_EQ(exported.code, 0) << exported.err;
    EXPECT_LT(
        nlohmann::json::parse(exported.out)["certificate"]["weights"]["mean_kl"].get<double>(),
        1e-9);
  };
  branch(2, "parts");
  branch(4, "copies");
  const ProgramResult same = run_isoflop({"diff", path("parts"), path("copies")});
  EXPECT_EQ(same.code, 0) << same.out << same.err;
}

// All steps of such a branch are in the cool-down: wherever it is killed, rounded weights are lost
// and have to come back from the masters.
TEST_F(Anneal, KilledOnTheGridABranchGoesOnWithTheSameBits) {
  ASSERT_EQ(train({path("run.toml"), "--out", path("trunk")}).code, 0);
  const auto branch = [&](const std::string& out) {
    return std::vector<std::string>{"train",
                                    "--anneal-from",
                                    path("trunk/checkpoints/step-00000028"),
                                    "--out",
                                    path(out),
                                    "schedule.quantize=q4_0",
                                    "checkpoint.every=1",
                                    "--quiet"};
  };
  ASSERT_EQ(run_isoflop(branch("whole")).code, 0);
  const auto lines = deterministic_metrics(dir.path() / "whole");
  ASSERT_EQ(lines.size(), 7u);
  for (const char* fault : {"rename:60", "fsync:90", "write:240"}) {
    const std::string out = "killed-" + std::string(fault).substr(0, 5);
    const ProgramResult killed = Program(branch(out), {{"ISOFLOP_FAULT", fault}}).wait();
    ASSERT_EQ(killed.code, -SIGKILL) << fault << " came after the last step";
    ASSERT_TRUE(fs::exists(dir.path() / out / "checkpoints" / "step-00000029")) << fault;
    ASSERT_FALSE(fs::exists(dir.path() / out / "checkpoints" / "step-00000035")) << fault;
    ASSERT_EQ(train({"--resume", "auto", "--out", path(out)}).code, 0);
    const ProgramResult difference = run_isoflop({"diff", path("whole"), path(out)});
    EXPECT_EQ(difference.code, 0) << fault << difference.out << difference.err;
    EXPECT_EQ(deterministic_metrics(dir.path() / out), lines) << fault;
  }
}

TEST_F(Anneal, RefusesWhatCannotBranch) {
  ASSERT_EQ(train({path("run.toml"), "--out", path("trunk")}).code, 0);
  const std::string early = path("trunk/checkpoints/step-00000028");
  const ProgramResult late =
      train({"--anneal-from", path("trunk/checkpoints/step-00000056"), "--out", path("x")});
  EXPECT_EQ(late.code, 2);
  EXPECT_NE(late.err.find("keeps its rate until step 48"), std::string::npos) << late.err;
  const ProgramResult changed =
      train({"--anneal-from", early, "--out", path("x"), "model.layers=3"});
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("model.layers cannot change"), std::string::npos) << changed.err;
  EXPECT_EQ(train({"--anneal-from", early}).code, 2);
  EXPECT_EQ(train({"--anneal-from", early, "--out", path("x"), "--resume", "auto"}).code, 2);
  EXPECT_EQ(train({path("run.toml"), "--anneal-from", early, "--out", path("x")}).code, 2);
  EXPECT_EQ(train({path("text.txt"), "--anneal-from", early, "--out", path("x")}).code, 2);
  EXPECT_EQ(train({"--anneal-from", early, "--out", path("trunk")}).code, 2);
  // Whatever lies around a checkpoint that was moved is not its run's.
  fs::copy(early, path("step-00000028"), fs::copy_options::recursive);
  const ProgramResult moved = train({"--anneal-from", path("step-00000028"), "--out", path("x")});
  EXPECT_EQ(moved.code, 2);
  EXPECT_NE(moved.err.find("lies outside of its run"), std::string::npos) << moved.err;
  EXPECT_FALSE(fs::exists(dir.path() / "x"));
}

}  // namespace
}  // namespace isoflop
