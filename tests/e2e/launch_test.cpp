// `isoflop launch` with real ranks: what dies is started again and ends with the undisturbed run's
// bits; nobody is left behind. scripts/faults has the long list.
#include "parallel/communicator.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/mpirun.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>

namespace isoflop {
namespace {

using namespace std::chrono_literals;

/// By mpirun; by ourselves on this machine; by ourselves on two hosts, which are this one.
class Launch : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const bool self = GetParam() != std::string("mpirun");
    if (!self && mpi_version() == "off") GTEST_SKIP() << "skipped: built without MPI";
    if (!self && !test::has_mpirun())
      GTEST_SKIP() << "skipped: no mpirun (scripts/setup installs it)";
    const std::string text = test::write_text(folder_.path() / "text.txt", test::tiny_text(60'000));
    config_ = test::write_text(folder_.path() / "run.toml",
                               test::tiny_config(text, "compute.threads = 1\n"));
  }
  std::vector<std::string> launch(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"launch",  config_,      "--out", run_.string(),
                                      "--quiet", "--patience", "20",    "--starter"};
    if (GetParam() == std::string("hosts"))
      words.insert(words.end(), {"self", "--rsh", remote_shell(""), "--hosts", "a:1,b:1"});
    else
      words.insert(words.end(), {GetParam(), "-n", "2"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  /// SHELL HOST COMMAND as ssh has it: a process that does not end with the shell, and has nothing
  /// of our environment. `first` is done before. A host is down while there is a file of its name.
  std::string remote_shell(const std::string& first) const {
    const std::string file = (folder_.path() / "rsh").string();
    test::write_text(
        file, "#!/bin/sh\n[ -e '" + folder_.path().string() +
                  "'/\"$1\" ] && exit 255\nexec 3<&0\n" + first +
                  "\nsetsid env -i PATH=\"$PATH\" ASAN_OPTIONS=detect_leaks=0 "  // Open MPI leaks
                  "sh -c \"cd /; $2\" <&3 3<&- &\n"
                  "exec 3<&-\nwait $!\n");
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }
  /// Until the first checkpoint is there.
  bool has_saved(test::Program& program) const {
    for (int i = 0; i < 600; ++i) {
      if (fs::exists(run_ / "checkpoints" / "latest")) return true;
      if (program.ended_within(100ms)) return false;
    }
    return false;
  }
  /// Processes whose command line names our run folder and begins a training run.
  std::vector<pid_t> ranks() const {
    std::vector<pid_t> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const pid_t pid = std::atoi(entry.path().filename().c_str());
      const std::string words = test::slurp(entry.path() / "cmdline");
      const std::string start = std::string(ISOFLOP_PROGRAM) + '\0' + "train";
      if (pid > 0 && words.rfind(start, 0) == 0 && words.find(run_.string()) != words.npos)
        found.push_back(pid);
    }
    return found;
  }

  static bool has_variable(pid_t pid, const std::string& variable) {
    const std::string all = '\0' + test::slurp(fs::path("/proc") / std::to_string(pid) / "environ");
    return all.find('\0' + variable + '\0') != all.npos;
  }

  test::TempDir folder_;
  const fs::path run_ = folder_.path() / "run";
  std::string config_;
};

TEST_P(Launch, SlowAKilledRankIsNamedAndTheRunEndsWithTheSameBits) {
  const std::string alone = (folder_.path() / "alone").string();
  const std::vector<std::string> steps = {"schedule.steps=300", "output.hash_every=300"};
  std::vector<std::string> words = {"train", config_, "--out", alone, "--quiet"};
  words.insert(words.end(), steps.begin(), steps.end());
  ASSERT_EQ(test::run_isoflop(words).code, 0);

  test::Program program(launch(steps), test::rank_environment());
  ASSERT_TRUE(has_saved(program)) << program.said();
  const std::vector<pid_t> alive = ranks();
  ASSERT_EQ(alive.size(), 2u);
  ::kill(alive.back(), SIGKILL);
  const test::ProgramResult result = program.wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(test::run_isoflop({"diff", alone, run_.string()}).code, 0);
  const std::string said = test::slurp(run_ / "logs" / "launch.log");
  EXPECT_NE(said.find("died: rank "), std::string::npos) << said;
  EXPECT_NE(said.find("starting again from step"), std::string::npos) << said;
  EXPECT_TRUE(fs::exists(run_ / "logs" / "attempt-0002"));
}

TEST_P(Launch, TermSavesAndLeavesWith75) {
  test::Program program(launch({"schedule.steps=1000000"}), test::rank_environment());
  ASSERT_TRUE(has_saved(program)) << program.said();
  program.send(SIGTERM);
  EXPECT_EQ(program.wait().code, 75) << program.said();
  EXPECT_EQ(test::run_isoflop({"diff", run_.string(), run_.string()}).code, 0);
}

TEST_P(Launch, NobodyIsLeftWhenTheLauncherIsKilled) {
  test::Program program(launch({"schedule.steps=1000000"}), test::rank_environment());
  ASSERT_TRUE(has_saved(program)) << program.said();
  EXPECT_EQ(ranks().size(), 2u);
  program.send(SIGKILL);
  program.wait();
  for (int i = 0; i < 300 && !ranks().empty(); ++i) std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(ranks().empty());
}

// torchrun would start eight of these; without its address each would train alone.
TEST_P(Launch, AnotherLaunchersNumberOfRanksIsRefused) {
  const test::ProgramResult result = test::run_isoflop({"train", config_, "--out", run_.string()},
                                                       {{"RANK", "3"}, {"WORLD_SIZE", "8"}});
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_NE(result.err.find("WORLD_SIZE is 8 and RANK 3"), std::string::npos) << result.err;
}

TEST_P(Launch, RefusalsAreSaidOnceAndNotTriedAgain) {
  test::ProgramResult result = test::run_isoflop(launch({"model.layerz=3"}));
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_FALSE(fs::exists(run_));
  result = test::run_isoflop(launch({"schedule.slots=1"}), test::rank_environment());
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_NE(result.err.find("2 ranks cannot share 1 slots"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(run_ / "logs" / "attempt-0002"));
}

class LaunchOnHosts : public Launch {};

TEST_P(LaunchOnHosts, SlowASpareTakesThePlaceOfALostOne) {
  const std::string alone = (folder_.path() / "alone").string();
  const std::vector<std::string> steps = {"schedule.steps=300", "output.hash_every=300"};
  std::vector<std::string> words = {"train", config_, "--out", alone, "--quiet"};
  words.insert(words.end(), steps.begin(), steps.end());
  ASSERT_EQ(test::run_isoflop(words).code, 0);

  words = launch(steps);
  words.insert(words.end(), {"--spares", "1"});
  *std::find(words.begin(), words.end(), "a:1,b:1") = "a:1,b:1,c:1";
  test::Program program(words);
  ASSERT_TRUE(has_saved(program)) << program.said();
  test::write_text(folder_.path() / "b", "");
  for (const pid_t pid : ranks())
    if (has_variable(pid, "RANK=1")) ::kill(pid, SIGKILL);
  const test::ProgramResult result = program.wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(test::run_isoflop({"diff", alone, run_.string()}).code, 0);
  const std::string said = test::slurp(run_ / "logs" / "launch.log");
  EXPECT_NE(said.find("died: rank 1 on "), std::string::npos) << said;
  EXPECT_NE(said.find("spare host c takes its place"), std::string::npos) << said;
  EXPECT_NE(said.find("attempt 2: 2 ranks on a:1,c:1"), std::string::npos) << said;
}

// The host's own name, which the rank says, is not the one it was given by.
TEST_P(LaunchOnHosts, SlowAHostThatFailsTwiceInARowIsLeftOut) {
  const auto last_step = [&] {
    const std::string lines = test::slurp(run_ / "metrics.jsonl");
    const size_t at = lines.rfind("\"step\":");
    return at == lines.npos ? 0 : std::atoi(lines.c_str() + at + 7);
  };
  const auto wait_for = [](const std::function<bool()>& what) {
    for (int i = 0; i < 3000 && !what(); ++i) std::this_thread::sleep_for(20ms);
    return what();
  };
  // Nothing is saved, so no restart is progress.
  test::Program program(launch({"schedule.steps=3000", "checkpoint.every=0"}));
  for (const char* attempt : {"attempt-0001", "attempt-0002"}) {
    ASSERT_TRUE(wait_for([&] { return fs::exists(run_ / "logs" / attempt); })) << program.said();
    const int before = last_step();  // of the attempt that has ended, or of this one
    ASSERT_TRUE(wait_for([&] {
      const int step = last_step();
      return step > 0 && step != before;
    })) << program.said();
    for (const pid_t pid : ranks())
      if (has_variable(pid, "RANK=1")) ::kill(pid, SIGKILL);
  }
  EXPECT_EQ(program.wait().code, 0) << program.said();
  const std::string said = test::slurp(run_ / "logs" / "launch.log");
  EXPECT_NE(said.find("host b failed twice in a row: going on without it"), std::string::npos)
      << said;
  EXPECT_NE(said.find("attempt 3: 1 rank on a:1"), std::string::npos) << said;
}

TEST_P(LaunchOnHosts, WhoCannotTakePartIsNamed) {
  test::write_text(folder_.path() / "b", "");
  test::ProgramResult result = test::run_isoflop(launch());
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_NE(result.err.find("b does not answer (exit code 255)"), std::string::npos) << result.err;
  fs::remove(folder_.path() / "b");
  result = test::run_isoflop(launch({"--network", "203.0.113.0/24"}));
  EXPECT_EQ(result.code, 2) << result.err;
  EXPECT_NE(result.err.find("has no IPv4 address in network 203.0.113.0/24"), std::string::npos)
      << result.err;
}

TEST_P(LaunchOnHosts, ARemoteShellMustPassOnStandardInput) {
  const std::vector<std::string> words = launch();
  remote_shell("exec 3</dev/null");
  const test::ProgramResult result = test::run_isoflop(words);
  EXPECT_EQ(result.code, 2) << result.err;
  const std::string said = test::slurp(run_ / "logs" / "attempt-0001" / "starter.log");
  EXPECT_NE(said.find("does not say which ranks to start"), std::string::npos) << said;
  EXPECT_FALSE(fs::exists(run_ / "logs" / "attempt-0002"));
}

INSTANTIATE_TEST_SUITE_P(By, Launch, testing::Values("mpirun", "self", "hosts"));
INSTANTIATE_TEST_SUITE_P(By, LaunchOnHosts, testing::Values("hosts"));

}  // namespace
}  // namespace isoflop
