#include "core/error.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/checkpoint/writer.hpp"
#include "tests/pretrain/checkpoint_support.hpp"
#include "tests/support/temp_dir.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>

extern char** environ;

namespace isoflop {
namespace {

using test::expect_snapshot;
using test::names_in;
using test::save_steps;
using test::small_table;
using test::Snapshot;

constexpr const char* kRunVariable = "ISOFLOP_TEST_RUN";
constexpr int64_t kChildSaves = 3;

class CheckpointWriterTest : public testing::Test {
 protected:
  std::vector<std::string> saved() const { return names_in(checkpoints_folder(run_)); }
  int64_t latest() {
    const auto found = find_latest(run_, warnings_);
    return found ? found->step() : -1;
  }
  test::TempDir temp_;
  fs::path run_ = temp_.path();
  std::vector<std::string> warnings_;
};

TEST_F(CheckpointWriterTest, SaveCopiesBeforeItReturns) {
  CheckpointWriter writer(test::writer_options(run_), small_table());
  Snapshot snapshot(10);
  snapshot.save(writer);
  std::memset(snapshot.parameters.flat().data, 0xff, snapshot.parameters.flat().bytes());
  std::memset(snapshot.v.flat().data, 0xff, snapshot.v.flat().bytes());
  ASSERT_TRUE(writer.finish());
  expect_snapshot(*find_latest(run_, warnings_), 10);
}

TEST_F(CheckpointWriterTest, TellsWhatWasSaved) {
  std::vector<SavedCheckpoint> told;
  CheckpointWriterOptions options = test::writer_options(run_);
  options.saved = [&](const SavedCheckpoint& saved) { told.push_back(saved); };
  CheckpointWriter writer(options, small_table());
  Snapshot(7).save(writer);
  ASSERT_TRUE(writer.finish());
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].step, 7);
  uint64_t bytes = 0;
  for (const auto& file : fs::directory_iterator(checkpoints_folder(run_) / "step-00000007"))
    if (file.path().filename() != "manifest.json") bytes += file.file_size();
  EXPECT_EQ(told[0].bytes, bytes);
  EXPECT_GT(told[0].seconds, 0);
}

TEST_F(CheckpointWriterTest, DestructorFinishesTheSaveInFlight) {
  {
    CheckpointWriter writer(test::writer_options(run_), small_table());
    for (int64_t step = 1; step <= 3; ++step) Snapshot(step).save(writer);
  }
  expect_snapshot(*find_latest(run_, warnings_), 3);
}

TEST_F(CheckpointWriterTest, KeepsTheNewest) {
  save_steps(run_, {1, 2, 3, 4, 5}, 2);
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000004", "step-00000005"}));
  expect_snapshot(*find_latest(run_, warnings_), 5);
  save_steps(run_, {6}, 0);
  EXPECT_EQ(saved().size(), 4u);
}

TEST_F(CheckpointWriterTest, NewestIsTheLastSavedNotTheHighestStep) {
  save_steps(run_, {500, 1000});
  save_steps(run_, {600}, 2);  // someone went back to 500 and on from there
  EXPECT_EQ(latest(), 600);
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000600", "step-00001000"}));
}

TEST_F(CheckpointWriterTest, SameStepIsReplaced) {
  save_steps(run_, {1, 2});
  fs::resize_file(checkpoints_folder(run_) / checkpoint_name(2) / "rank-0000.h5", 100);
  save_steps(run_, {2});
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000001", "step-00000002"}));
  expect_snapshot(*find_latest(run_, warnings_), 2);
}

TEST_F(CheckpointWriterTest, LeftoversOfAKilledRunAreRemoved) {
  save_steps(run_, {1});
  const fs::path leftover = checkpoints_folder(run_) / ".step-00000002.tmp";
  fs::create_directory(leftover);
  std::ofstream(leftover / "rank-0000.h5") << "half";
  EXPECT_EQ(latest(), 1);
  const CheckpointWriter writer(test::writer_options(run_), small_table());
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000001"}));
}

TEST_F(CheckpointWriterTest, FailedSaveWarnsAndTheNextOneIsTried) {
  CheckpointWriterOptions options = test::writer_options(run_);
  std::vector<std::string> said;
  options.warn = [&](const std::string& text) { said.push_back(text); };
  CheckpointWriter writer(options, small_table());
  Snapshot(1).save(writer);
  EXPECT_TRUE(writer.finish());
  fs::create_directory(run_ / "aside");
  fs::rename(checkpoints_folder(run_), run_ / "aside" / "checkpoints");  // a vanished disk
  Snapshot(2).save(writer);
  EXPECT_FALSE(writer.finish());
  EXPECT_NE(writer.last_error().find("step 2"), std::string::npos);
  ASSERT_EQ(said.size(), 3u);
  EXPECT_NE(said[2].find("attempt 3 of 3"), std::string::npos);
  fs::rename(run_ / "aside" / "checkpoints", checkpoints_folder(run_));
  Snapshot(3).save(writer);
  EXPECT_TRUE(writer.finish()) << writer.last_error();
  EXPECT_EQ(writer.last_error(), "");
  expect_snapshot(*find_latest(run_, warnings_), 3);
}

/// While it lives no file may grow beyond `bytes`: every larger write fails.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit = {bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_ = {};
  void (*old_handler_)(int);
};

TEST_F(CheckpointWriterTest, NeverRemovesTheOnlyGoodOne) {
  save_steps(run_, {1, 2});
  fs::resize_file(checkpoints_folder(run_) / checkpoint_name(2) / "rank-0000.h5", 100);
  CheckpointWriterOptions options = test::writer_options(run_);
  options.retention.keep = 1;
  CheckpointWriter writer(options, small_table());
  {
    const FileSizeLimit limit(1000);
    Snapshot(3).save(writer);
    EXPECT_FALSE(writer.finish());
  }
  EXPECT_EQ(latest(), 1);
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000001", "step-00000002"}));
  Snapshot(4).save(writer);
  EXPECT_TRUE(writer.finish()) << writer.last_error();
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000004"}));
}

TEST_F(CheckpointWriterTest, KeepsForEverWhatTheRetentionSays) {
  CheckpointWriterOptions options = test::writer_options(run_);
  options.retention = {.keep = 1, .keep_every = 3, .behind = 2};
  CheckpointWriter writer(options, small_table());
  for (int64_t step = 1; step <= 8; ++step) {
    Snapshot(step).save(writer);
    ASSERT_TRUE(writer.finish()) << writer.last_error();
  }
  // 8 is the newest, 3 and 6 are multiples of 3, and 6 is also two behind the newest.
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000003", "step-00000006",
                                               "step-00000008"}));
  writer.forget_after(6);
  EXPECT_EQ(saved(), (std::vector<std::string>{"latest", "step-00000003", "step-00000006"}));
  EXPECT_EQ(latest(), 6);
}

TEST(Retention, LogSpacedStepsAreThePublishedOnes) {
  std::vector<int64_t> steps;
  for (int64_t step = 0; step <= 143000; ++step)
    if (is_log_spaced(step)) steps.push_back(step);
  EXPECT_EQ(steps.size(), 154u);
  EXPECT_EQ((std::vector<int64_t>(steps.begin(), steps.begin() + 13)),
            (std::vector<int64_t>{0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000}));
}

TEST_F(CheckpointWriterTest, UnwritableFolderIsAUserError) {
  std::ofstream(run_ / "checkpoints") << "a file";
  EXPECT_THROW(CheckpointWriter(test::writer_options(run_), small_table()), UserError);
}

// --- killed at any point

/// Not a test of its own: the program that KilledAnywhere starts and kills.
TEST(CheckpointChild, DISABLED_Saves) {
  const char* run = std::getenv(kRunVariable);
  ASSERT_TRUE(run);
  CheckpointWriterOptions options = test::writer_options(run);
  options.retention.keep = 1;
  CheckpointWriter writer(options, small_table());
  for (int64_t step = 1; step <= kChildSaves; ++step) {
    // The last one replaces the one before.
    Snapshot(std::min(step, kChildSaves - 1)).save(writer);
    ASSERT_TRUE(writer.finish()) << writer.last_error();
    std::ofstream(fs::path(run) / "finished", std::ios::app) << step << "\n";
  }
}

/// Runs the child with this fault; true when it was killed, false when it came to its end.
bool killed_child(const fs::path& run, const std::string& fault) {
  std::vector<std::string> variables = {"ISOFLOP_FAULT=" + fault,
                                        std::string(kRunVariable) + "=" + run.string()};
  for (char** variable = environ; *variable; ++variable)
    if (std::string_view(*variable).substr(0, 8) != "ISOFLOP_") variables.emplace_back(*variable);
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  std::vector<std::string> words = {"/proc/self/exe",
                                    "--gtest_filter=CheckpointChild.DISABLED_Saves",
                                    "--gtest_also_run_disabled_tests", "--gtest_brief=1"};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  EXPECT_EQ(::posix_spawn(&child, words[0].c_str(), nullptr, nullptr, arguments.data(),
                          environment.data()),
            0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  if (WIFSIGNALED(status)) {
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    return true;
  }
  EXPECT_EQ(WEXITSTATUS(status), 0);
  return false;
}

int64_t finished_saves(const fs::path& run) {
  int64_t count = 0;
  std::ifstream in(run / "finished");
  for (std::string line; std::getline(in, line);) ++count;
  return count;
}

class KilledAnywhere : public testing::TestWithParam<const char*> {};

TEST_P(KilledAnywhere, LeavesTheNewestOrTheOneBefore) {
  int kills = 0;
  while (true) {
    const test::TempDir run(test::scratch_in_memory());
    const std::string fault = fmt::format("{}:{}", GetParam(), kills + 1);
    SCOPED_TRACE(fault);
    const bool killed = killed_child(run.path(), fault);
    const int64_t finished = std::min(finished_saves(run.path()), kChildSaves - 1);
    std::vector<std::string> warnings;
    const auto found = find_latest(run.path(), warnings);
    EXPECT_TRUE(warnings.empty()) << warnings[0];
    ASSERT_EQ(finished > 0 && !found, false) << "a finished checkpoint is lost";
    if (found) {
      EXPECT_GE(found->step(), finished);
      EXPECT_LE(found->step(), finished + 1);
      expect_snapshot(*found, found->step());
    }
    // The run goes on from there, and nothing of the accident stays.
    save_steps(run.path(), {kChildSaves}, 2);
    const std::vector<std::string> names = names_in(checkpoints_folder(run.path()));
    EXPECT_LE(names.size(), 3u);
    for (const std::string& name : names) EXPECT_NE(name.front(), '.') << name;
    expect_snapshot(*find_latest(run.path(), warnings), kChildSaves);
    if (!killed || testing::Test::HasFailure()) break;
    ++kills;
  }
  EXPECT_GT(kills, 20) << "the fault points were not reached";
}

INSTANTIATE_TEST_SUITE_P(CheckpointWriter,
                         KilledAnywhere,
                         testing::Values("write", "fsync", "rename"),
                         [](const auto& point) { return std::string(point.param); });

// --- a full disk

/// A small file system of our own in memory.
class SmallDisk {
 public:
  SmallDisk(const fs::path& at, const std::string& options) : path_(at) {
    fs::create_directory(at);
    mounted_ = ::mount("tmpfs", at.c_str(), "tmpfs", 0, options.c_str()) == 0;
  }
  ~SmallDisk() {
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }

 private:
  fs::path path_;
  bool mounted_ = false;
};

TEST_F(CheckpointWriterTest, FullDiskLosesOneSaveAndNothingElse) {
  const fs::path disk = run_ / "disk";
  const SmallDisk mount(disk, "size=4m");
  if (!mount.mounted()) GTEST_SKIP() << "mounting a small tmpfs needs root";
  CheckpointWriterOptions options = test::writer_options(disk);
  std::vector<std::string> said;
  options.warn = [&](const std::string& text) { said.push_back(text); };
  CheckpointWriter writer(options, small_table());
  Snapshot(1).save(writer);
  ASSERT_TRUE(writer.finish());
  // Leave less free at each round, so that the disk runs full in another file each time.
  const fs::path ballast = disk / "ballast";
  int failures = 0;
  for (const uint64_t left : {0, 4, 8, 16, 32, 48, 64, 80, 96}) {
    SCOPED_TRACE(fmt::format("{} KB left", left));
    const uint64_t free_before = fs::space(disk).available;
    {
      std::ofstream out(ballast, std::ios::binary);
      out << std::string(free_before - left * 1024, 'x');
    }
    const uint64_t free_then = fs::space(disk).available;
    said.clear();
    Snapshot(2).save(writer);
    if (writer.finish()) break;
    ++failures;
    EXPECT_EQ(said.size(), 3u);
    EXPECT_EQ(names_in(checkpoints_folder(disk)),
              (std::vector<std::string>{"latest", "step-00000001"}));
    EXPECT_EQ(fs::space(disk).available, free_then) << "the failed save still holds disk space";
    expect_snapshot(*find_latest(disk, warnings_), 1);
    fs::remove(ballast);
  }
  EXPECT_GE(failures, 3);
  fs::remove(ballast);
  Snapshot(3).save(writer);
  EXPECT_TRUE(writer.finish()) << writer.last_error();
  expect_snapshot(*find_latest(disk, warnings_), 3);
}

}  // namespace
}  // namespace isoflop
