// One seed, all layouts, the same bits: whole runs under mpirun, compared by `isoflop diff` and by
// their metrics.
#include "cuda/backend.hpp"
#include "parallel/communicator.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/mpirun.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace isoflop {
namespace {

class RanksE2e : public ::testing::Test {
 protected:
  void SetUp() override {
    if (mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
    if (!test::has_mpirun()) GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
    const std::string text = test::write_text(folder_.path() / "text.txt", test::tiny_text(60'000));
    // Norms are near one here, so clipping acts in every step; the layer statistics need gradients
    // that no rank has whole.
    config_ = test::write_text(folder_.path() / "run.toml", test::tiny_config(text, R"(
optimizer.clip = 0.3
output.layer_stats_every = 5
compute.threads = 1
)"));
  }

  std::string out(const std::string& name) const { return (folder_.path() / name).string(); }
  std::vector<std::string> train(const std::string& name, std::vector<std::string> more) const {
    std::vector<std::string> words = {
        "train", config_, "--out", out(name), "--quiet", "schedule.slots=8", "schedule.steps=20"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  void run(int ranks, const std::string& name, const std::vector<std::string>& more = {}) const {
    const test::ProgramResult result = test::run_on_ranks(ranks, train(name, more));
    ASSERT_EQ(result.code, 0) << ranks << " ranks: " << result.err;
  }
  void expect_same(const std::string& a, const std::string& b) const {
    const test::ProgramResult diff = test::run_isoflop({"diff", out(a), out(b)});
    EXPECT_EQ(diff.code, 0) << b << ": " << diff.out << diff.err;
    EXPECT_EQ(test::deterministic_metrics(out(a)), test::deterministic_metrics(out(b))) << b;
  }

  /// train/loss of each step.
  std::vector<double> losses(const std::string& name) const {
    std::vector<double> values;
    for (const std::string& line : test::deterministic_metrics(out(name))) {
      const nlohmann::json fields = nlohmann::json::parse(line, nullptr, false);
      if (fields.contains("train/loss")) values.push_back(fields["train/loss"]);
    }
    return values;
  }

  test::TempDir folder_;
  std::string config_;
};

TEST_F(RanksE2e, AllLayoutsGiveTheSameBits) {
  ASSERT_EQ(test::run_isoflop(train("alone", {})).code, 0);
  for (const int ranks : {2, 3, 4, 5, 6, 8}) {
    const std::string name = std::to_string(ranks);
    run(ranks, name);
    expect_same("alone", name);
  }
  run(2, "cores-shared", {"compute.threads=auto"});
  expect_same("alone", "cores-shared");
  for (const int ranks : {2, 6}) {
    const std::string name = std::to_string(ranks) + "-staged";
    run(ranks, name, {"parallel.pp=2"});
    expect_same("alone", name);
  }
}

TEST_F(RanksE2e, AllLayoutsGiveTheSameBitsInBf16WithRecomputation) {
  std::vector<std::string> more = {"compute.dtype=bf16", "compute.recompute=block",
                                   "model.arch=llama", "model.layers=4"};
  ASSERT_EQ(test::run_isoflop(train("alone", more)).code, 0);
  more.push_back(test::same_kernel_as(out("alone")));
  for (const int ranks : {3, 4}) {
    const std::string name = std::to_string(ranks);
    run(ranks, name, more);
    expect_same("alone", name);
  }
  std::vector<std::string> staged = more;
  staged.push_back("parallel.pp=4");
  for (const int ranks : {4, 8}) {
    const std::string name = std::to_string(ranks) + "-staged";
    run(ranks, name, staged);
    expect_same("alone", name);
  }
}

// Owners of whole matrices move when the ranks change; a run goes on all the same.
TEST_F(RanksE2e, MuonGoesOnOnAnotherNumberOfRanks) {
  const std::vector<std::string> muon = {"optimizer.kind=muon", "checkpoint.every=8"};
  ASSERT_EQ(test::run_isoflop(train("alone", muon)).code, 0);
  fs::create_directories(out("moved"));
  test::write_text(fs::path(out("moved")) / "stop", "");
  EXPECT_EQ(test::run_on_ranks(4, train("moved", muon)).code, 75);
  std::vector<std::string> rest = muon;
  rest.insert(rest.end(), {"--resume", "auto"});
  run(3, "moved", rest);
  expect_same("alone", "moved");
  run(2, "two", muon);
  expect_same("alone", "two");
}

// A file named `stop` that is there from the start ends a run after one step, saved.
TEST_F(RanksE2e, GoesOnOnAnotherNumberOfRanks) {
  ASSERT_EQ(test::run_isoflop(train("alone", {})).code, 0);
  const auto one_step = [&](int ranks, int stages, bool resume) {
    fs::create_directories(out("moved"));
    test::write_text(fs::path(out("moved")) / "stop", "");
    std::vector<std::string> more = {"parallel.pp=" + std::to_string(stages)};
    if (resume) more.insert(more.end(), {"--resume", "auto"});
    const test::ProgramResult result = test::run_on_ranks(ranks, train("moved", more));
    EXPECT_EQ(result.code, 75) << ranks << " ranks: " << result.err;
  };
  one_step(3, 1, false);
  one_step(8, 2, true);
  one_step(1, 1, true);
  one_step(2, 2, true);
  run(5, "moved", {"--resume", "auto"});
  expect_same("alone", "moved");
}

// Of bpe:301, so that the vocabulary is uneven.
TEST_F(RanksE2e, SlowSharedMatricesGiveTheSameBitsForAnyNumberOfCopiesAndStages) {
  for (const char* arch : {"gpt3", "llama"}) {
    const std::vector<std::string> more = {"parallel.tp=2", "data.tokenizer=bpe:301",
                                           "output.layer_stats_every=0", "eval.sample_every=10",
                                           std::string("model.arch=") + arch};
    const std::string name = arch;
    run(2, name, more);
    run(2, name + "-again", more);
    run(4, name + "-copies", more);
    expect_same(name, name + "-again");
    expect_same(name, name + "-copies");
    std::vector<std::string> staged = more;
    staged.push_back("parallel.pp=2");
    run(4, name + "-stages", staged);
    expect_same(name, name + "-stages");
  }
}

// A step on two parts, one on one rank, one on two parts of two stages, and the rest on two copies
// of two parts: the losses are those of one rank but for rounding.
TEST_F(RanksE2e, GoesOnOnAnotherNumberOfParts) {
  const std::vector<std::string> more = {"output.layer_stats_every=0", "data.tokenizer=bpe:301",
                                         "model.arch=pythia"};
  ASSERT_EQ(test::run_isoflop(train("alone", more)).code, 0);
  const auto words = [&](int tp, int pp, bool resume) {
    std::vector<std::string> all = more;
    all.push_back("parallel.tp=" + std::to_string(tp));
    all.push_back("parallel.pp=" + std::to_string(pp));
    if (resume) all.insert(all.end(), {"--resume", "auto"});
    return all;
  };
  const auto one_step = [&](int ranks, int tp, int pp, bool resume) {
    fs::create_directories(out("moved"));
    test::write_text(fs::path(out("moved")) / "stop", "");
    const test::ProgramResult result =
        test::run_on_ranks(ranks, train("moved", words(tp, pp, resume)));
    EXPECT_EQ(result.code, 75) << ranks << " ranks: " << result.err;
  };
  one_step(2, 2, 1, false);
  one_step(1, 1, 1, true);
  one_step(4, 2, 2, true);
  run(4, "moved", words(2, 1, true));
  const std::vector<double> expected = losses("alone"), got = losses("moved");
  ASSERT_EQ(expected.size(), 20u);
  ASSERT_EQ(got.size(), expected.size());
  // Rounding at 2^-24, grown by AdamW: an update has the size of the rate whatever the gradient's,
  // so where a gradient is nearly zero its rounding moves a weight, by 20 steps x 1e-2 at most; a
  // loss that misses a part of the model is off by more than a tenth.
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-4) << i;
}

TEST_F(RanksE2e, AllStopAtOneStepWhenMpirunPassesASignalOn) {
  test::Program program(test::on_ranks(3, train("signalled", {"schedule.steps=1000000"})),
                        test::rank_environment());
  const fs::path metrics = fs::path(out("signalled")) / "metrics.jsonl";
  for (int i = 0; i < 600 && test::slurp(metrics).size() < 2000; ++i)
    ASSERT_FALSE(program.ended_within(std::chrono::milliseconds(100)));
  program.send(SIGUSR1);
  ASSERT_TRUE(program.ended_within(std::chrono::seconds(60)));
  EXPECT_EQ(program.wait().code, 75);
  // What was saved is whole, and of one step.
  EXPECT_EQ(test::run_isoflop({"diff", out("signalled"), out("signalled")}).code, 0);
}

TEST_F(RanksE2e, RanksThatDoNotFitAreRefusedOnce) {
  const auto expect_refused = [&](const std::vector<std::string>& more,
                                  const std::string& message) {
    const test::ProgramResult result = test::run_on_ranks(3, train("many", more));
    EXPECT_EQ(result.code, 2) << result.err;
    const size_t first = result.err.find(message);
    ASSERT_NE(first, std::string::npos) << result.err;
    EXPECT_EQ(result.err.find(message, first + 1), std::string::npos) << result.err;
  };
  expect_refused({"schedule.slots=2"}, "3 ranks cannot share 2 slots");
  expect_refused({"parallel.pp=2"}, "3 ranks do not fit a grid of 2 (tp 1 x pp 2)");
  expect_refused({"parallel.pp=3"}, "3 pipeline stages need as many blocks, and the model has 2");
  expect_refused({"parallel.tp=2"}, "3 ranks do not fit a grid of 2 (tp 2 x pp 1)");
  const auto expect_not_shared = [&](const std::string& d_ff, const std::string& more,
                                     const std::string& message) {
    expect_refused({"parallel.tp=3", "model.heads=3", "model.d_model=33", d_ff, more}, message);
  };
  expect_refused({"parallel.tp=3"},
                 "model.heads = 2 cannot be shared evenly by parallel.tp = 3 ranks; this model "
                 "takes tp = 2 at most, or a divisor of that");
  expect_not_shared("model.d_ff=64", "output.layer_stats_every=0",
                    "model.d_ff = 64 cannot be shared evenly");
  expect_not_shared("model.d_ff=66", "optimizer.kind=muon",
                    "optimizer.kind = \"muon\" takes whole matrices");
  expect_not_shared("model.d_ff=66", "output.layer_stats_every=5",
                    "output.layer_stats_every looks at whole tensors");
  if (gpu::find_devices().devices == 0)
    expect_refused({"compute.device=cuda"}, "there is no GPU to compute on");
}

// The same program with a byte more at its end: it may compute other bits.
TEST_F(RanksE2e, ARankWithAnotherProgramIsNamedAndNobodyIsLeft) {
  const std::string other = out("other-isoflop");
  fs::copy_file(ISOFLOP_PROGRAM, other);
  std::ofstream(other, std::ios::binary | std::ios::app) << '\0';
  test::Program::Words command = test::on_ranks(1, train("mixed", {}));
  for (const std::string& word : {std::string(":"), std::string("-n"), std::string("1"), other})
    command.words.push_back(word);
  for (const std::string& word : train("mixed", {})) command.words.push_back(word);
  test::Program program(command, test::rank_environment());
  ASSERT_TRUE(program.ended_within(std::chrono::seconds(60)));
  const test::ProgramResult result = program.wait();
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_NE(result.err.find("rank 1 of 2"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("the program's bytes differ"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace isoflop
