// What users get wrong around a run: each has its own message and exit code 2 before any work, and
// what was there stays as it was.
#include "tests/e2e/tiny_run.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

namespace isoflop {
namespace {

using namespace isoflop::test;
namespace fs = std::filesystem;

class BadInput : public testing::Test {
 protected:
  void SetUp() override { text = write_text(dir.path() / "text.txt", tiny_text(20000)); }
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  ProgramResult train(const std::string& config, const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments = {"train", write_text(dir.path() / "run.toml", config),
                                          "--out", path("run")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_isoflop(arguments);
  }
  /// Exit code 2, one line that names `what`, and no trace of a run.
  void expect_refused(const ProgramResult& result, const std::string& what) const {
    EXPECT_EQ(result.code, 2) << result.err;
    EXPECT_NE(result.err.find(what), std::string::npos)
        << "wanted: " << what << "\ngot: " << result.err;
    EXPECT_FALSE(fs::exists(dir.path() / "run" / "metrics.jsonl"));
    EXPECT_FALSE(fs::exists(dir.path() / "run" / "checkpoints"));
  }

  TempDir dir;
  std::string text;
};

TEST_F(BadInput, InTheRunFile) {
  expect_refused(train(tiny_config(text), {"schedule.batch_token=1"}), "schedule.batch_tokens");
  expect_refused(train(tiny_config(text), {"model.layers=six"}), "model.layers");
  expect_refused(train(tiny_config(text), {"model.heads=3"}), "model.heads");
  expect_refused(train(tiny_config(text), {"schedule.batch_tokens=300"}), "schedule.batch_tokens");
  expect_refused(train(tiny_config(path("absent.txt"))), "absent.txt");
  EXPECT_FALSE(fs::exists(dir.path() / "run")) << "nothing may be made for a run that cannot start";
}

TEST_F(BadInput, InTheText) {
  expect_refused(train(tiny_config(write_text(dir.path() / "empty.txt", ""))), "empty.txt");
  expect_refused(train(tiny_config(write_text(dir.path() / "short.txt", "a short text, no more\n")),
                       {"data.valid_fraction=0", "model.context=64", "schedule.batch_tokens=1024"}),
                 "context");
}

TEST_F(BadInput, ATokenizerThatIsNotTheStores) {
  ASSERT_EQ(
      run_isoflop({"tokenizer", "train", "--vocab", "300", "--out", path("a.json"), text}).code, 0);
  ASSERT_EQ(
      run_isoflop({"tokenizer", "train", "--vocab", "290", "--out", path("b.json"), text}).code, 0);
  ASSERT_EQ(
      run_isoflop({"data", "build", "--tokenizer", path("a.json"), "--out", path("a.h5"), text})
          .code,
      0);
  const std::string config = tiny_config(path("a.h5"));
  expect_refused(train(config, {"data.tokenizer=" + path("b.json")}), "a.h5");
}

TEST_F(BadInput, ATruncatedStoreCheckpointOrGguf) {
  ASSERT_EQ(run_isoflop({"train", write_text(dir.path() / "good.toml", tiny_config(text)), "--out",
                         path("good"), "--quiet", "schedule.steps=2"})
                .code,
            0);
  ASSERT_EQ(run_isoflop({"export", path("good"), "--type", "f32", "--out", path("good.gguf")}).code,
            0);
  const auto cut = [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) * 2 / 3); };

  fs::copy_file(path("good/data/train.h5"), path("cut.h5"));
  cut(path("cut.h5"));
  expect_refused(
      train(tiny_config(path("cut.h5")), {"data.tokenizer=" + path("good/tokenizer.json")}),
      "cut.h5");

  cut(path("good.gguf"));
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"eval", path("good.gguf"), "--text", text},
        std::vector<std::string>{"generate", path("good.gguf"), "the"},
        std::vector<std::string>{"inspect", path("good.gguf")}})
    expect_refused(run_isoflop(arguments), "good.gguf");

  const fs::path checkpoint = dir.path() / "good" / "checkpoints" / "step-00000002";
  cut(checkpoint / "rank-0000.h5");
  expect_refused(run_isoflop({"generate", checkpoint.string(), "the"}), "rank-0000.h5");
}

TEST_F(BadInput, ARunToGoOnWithThatIsNotThere) {
  expect_refused(run_isoflop({"train", "--resume", "auto", "--out", path("none")}),
                 "there is no run in");
  EXPECT_FALSE(fs::exists(path("none")));
}

TEST_F(BadInput, ARunThatIsThereIsNeverOverwritten) {
  const std::string config = write_text(dir.path() / "good.toml", tiny_config(text));
  ASSERT_EQ(
      run_isoflop({"train", config, "--out", path("good"), "--quiet", "schedule.steps=2"}).code, 0);
  const auto before = deterministic_metrics(dir.path() / "good");
  const ProgramResult again = run_isoflop({"train", config, "--out", path("good")});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("--resume auto"), std::string::npos) << again.err;
  EXPECT_EQ(deterministic_metrics(dir.path() / "good"), before);
  const ProgramResult other = run_isoflop({"train", config, "--out", path("good"), "--resume",
                                           "auto", "schedule.steps=2", "optimizer.lr=1"});
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("optimizer.lr"), std::string::npos) << other.err;
}

/// A small file system of its own; skips where that is not allowed.
class SmallDisk : public BadInput {
 protected:
  void mount(const std::string& options) {
    fs::create_directories(disk());
    if (::mount("tmpfs", disk().c_str(), "tmpfs", 0, options.c_str()) != 0)
      GTEST_SKIP() << "mounting a small file system needs root";
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) ::umount(disk().c_str());
  }
  fs::path disk() const { return dir.path() / "disk"; }

 private:
  bool mounted_ = false;
};

TEST_F(SmallDisk, FullOrReadOnlyBeforeTheStart) {
  mount("size=64k");
  if (IsSkipped()) return;
  std::ofstream(disk() / "filler") << std::string(100000, 'x');
  const std::string config = write_text(dir.path() / "run.toml", tiny_config(text));
  const ProgramResult full = run_isoflop({"train", config, "--out", (disk() / "run").string()});
  EXPECT_EQ(full.code, 2) << full.err;
  EXPECT_NE(full.err.find("free some space"), std::string::npos) << full.err;
  ASSERT_EQ(::mount("tmpfs", disk().c_str(), "tmpfs", MS_REMOUNT | MS_RDONLY, ""), 0);
  const ProgramResult read_only =
      run_isoflop({"train", config, "--out", (disk() / "run").string()});
  EXPECT_EQ(read_only.code, 2) << read_only.err;
  EXPECT_NE(read_only.err.find("--out"), std::string::npos) << read_only.err;
}

TEST_F(SmallDisk, SlowFillingUpLaterWarnsAndOnlyTheLastSaveCounts) {
  mount("size=8m");
  if (IsSkipped()) return;
  const std::string config = write_text(dir.path() / "run.toml", tiny_config(text));
  const std::string out = (disk() / "run").string();
  const fs::path filler = disk() / "filler";
  const std::vector<std::string> arguments = {"train",
                                              config,
                                              "--out",
                                              out,
                                              "schedule.steps=600",
                                              "checkpoint.every=150",
                                              "checkpoint.keep=1",
                                              "eval.every=100000"};
  {  // the disk is filled, and stays full: everything but the last save is forgiven
    Program program(arguments);
    while (!fs::exists(disk() / "run" / "checkpoints" / "latest"))
      ASSERT_FALSE(program.ended_within(std::chrono::milliseconds(1)));
    const int file = ::open(filler.c_str(), O_WRONLY | O_CREAT, 0600);
    ASSERT_GE(file, 0);
    const std::string chunk(4096, 'x');
    do {  // again and again, since a failed save gives back what it had taken
      while (::write(file, chunk.data(), chunk.size()) > 0) {
      }
    } while (!program.ended_within(std::chrono::microseconds(500)));
    ::close(file);
    const ProgramResult result = program.wait();
    EXPECT_EQ(result.code, 5) << result.err;
    EXPECT_NE(result.err.find("warning"), std::string::npos) << result.err;
    EXPECT_NE(result.err.find("--resume auto"), std::string::npos) << result.err;
  }
  fs::remove(filler);
  std::vector<std::string> again = arguments;
  again.insert(again.end(), {"--resume", "auto", "--quiet"});
  const ProgramResult resumed = run_isoflop(again);
  EXPECT_EQ(resumed.code, 0) << resumed.err;
}

}  // namespace
}  // namespace isoflop
