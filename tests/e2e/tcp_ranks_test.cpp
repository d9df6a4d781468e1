// Ranks without MPI, started as torchrun starts them.
#include "parallel/tcp_store.hpp"
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using namespace std::chrono_literals;

class TcpRanksE2e : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string text = test::write_text(folder_.path() / "text.txt", test::tiny_text(60'000));
    config_ = test::write_text(folder_.path() / "run.toml", test::tiny_config(text, R"(
optimizer.clip = 0.3
compute.threads = 1
)"));
  }

  std::string out(const std::string& name) const { return (folder_.path() / name).string(); }
  std::vector<std::string> train(const std::string& name, std::vector<std::string> more) const {
    std::vector<std::string> words = {"train", config_, "--out", out(name)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  void start(int size, const std::vector<std::string>& words) {
    ranks_.clear();
    const std::string port = std::to_string(TcpStoreServer(0, "127.0.0.1").port());
    for (int rank = 0; rank < size; ++rank) start(rank, size, port, words);
  }
  void start(int rank, int size, const std::string& port, const std::vector<std::string>& words) {
    ranks_.push_back(std::make_unique<test::Program>(
        words, test::Program::Environment{{"RANK", std::to_string(rank)},
                                          {"WORLD_SIZE", std::to_string(size)},
                                          {"MASTER_ADDR", "127.0.0.1"},
                                          {"MASTER_PORT", port}}));
  }
  /// All must end soon, each with this code. What they said on standard error.
  std::string expect_end(int code) {
    std::string said;
    for (size_t rank = 0; rank < ranks_.size(); ++rank) {
      if (!ranks_[rank]->ended_within(60s)) {
        ADD_FAILURE() << "rank " << rank << " does not end: " << ranks_[rank]->said();
        ranks_[rank]->send(SIGKILL);
      }
      const test::ProgramResult result = ranks_[rank]->wait();
      EXPECT_EQ(result.code, code) << "rank " << rank << ": " << result.err;
      said += result.err;
    }
    return said;
  }
  void wait_for_steps(const std::string& name) {
    const fs::path metrics = fs::path(out(name)) / "metrics.jsonl";
    for (int i = 0; i < 600 && test::slurp(metrics).size() < 2000; ++i)
      ASSERT_FALSE(ranks_[0]->ended_within(100ms)) << ranks_[0]->said();
  }

  test::TempDir folder_;
  std::string config_;
  std::vector<std::unique_ptr<test::Program>> ranks_;
};

TEST_F(TcpRanksE2e, TheyTakeTheStepsOfOne) {
  const std::vector<std::string> steps = {"schedule.steps=20"};
  ASSERT_EQ(test::run_isoflop(train("alone", steps)).code, 0);
  for (const int size : {2, 3}) {
    const std::string name = std::to_string(size);
    start(size, train(name, steps));
    expect_end(0);
    const test::ProgramResult diff = test::run_isoflop({"diff", out("alone"), out(name)});
    EXPECT_EQ(diff.code, 0) << diff.out << diff.err;
    EXPECT_EQ(test::deterministic_metrics(out("alone")), test::deterministic_metrics(out(name)));
  }
}

TEST_F(TcpRanksE2e, ADeadOneEndsAllAndIsNamed) {
  start(3, train("killed", {"schedule.steps=1000000"}));
  wait_for_steps("killed");
  ranks_[1]->send(SIGKILL);
  EXPECT_EQ(ranks_[1]->wait().code, -SIGKILL);
  ranks_.erase(ranks_.begin() + 1);
  const std::string said = expect_end(5);
  EXPECT_NE(said.find("rank 1 of 3 on "), std::string::npos) << said;
  EXPECT_NE(said.find("is gone"), std::string::npos) << said;
}

TEST_F(TcpRanksE2e, ASignalAtOneHasAllSaveAndLeave) {
  start(3, train("stopped", {"schedule.steps=1000000"}));
  wait_for_steps("stopped");
  ranks_[2]->send(SIGTERM);
  expect_end(75);
  EXPECT_EQ(test::run_isoflop({"diff", out("stopped"), out("stopped")}).code, 0);
}

TEST_F(TcpRanksE2e, OnesThatDifferInHowManyTheyAreAreRefused) {
  const std::string port = std::to_string(TcpStoreServer(0, "127.0.0.1").port());
  start(0, 2, port, train("differ", {}));
  start(1, 3, port, train("differ", {}));
  const std::string said = expect_end(2);
  EXPECT_NE(said.find("WORLD_SIZE is "), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(out("differ")));
}

// All refuse alike, and one says it.
TEST_F(TcpRanksE2e, WhatAllRefuseIsSaidOnce) {
  start(3, train("refused", {"schedule.slots=2"}));
  const std::string said = expect_end(2), message = "3 ranks cannot share 2 slots";
  const size_t first = said.find(message);
  ASSERT_NE(first, std::string::npos) << said;
  EXPECT_EQ(said.find(message, first + 1), std::string::npos) << said;
}

}  // namespace
}  // namespace isoflop
