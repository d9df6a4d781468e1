// Files that version 0.1 wrote (tests/kept/): read, evaluated, trained on. What they must give was
// recorded when they were written.
#include "core/hash.hpp"
#include "datasets/token_store.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace isoflop {
namespace {

using namespace isoflop::test;
using Json = nlohmann::json;
namespace fs = std::filesystem;

// Kernels differ between machines in the last bits of a float.
constexpr double kKernels = 1e-5;

class KeptFiles : public testing::Test {
 protected:
  KeptFiles() {
    fs::copy(fs::path(ISOFLOP_SOURCE_DIR) / "tests/kept/0.1", dir.path(),
             fs::copy_options::recursive);
  }
  ProgramResult at_home(const std::string& line) const {
    return Program(line, dir.path(), "").wait();
  }

  TempDir dir;
};

TEST_F(KeptFiles, TokenStore) {
  const auto store = TokenStore::open(dir.path() / "run/data/train.h5", true);
  const TokenStoreInfo& info = store->info();
  EXPECT_EQ(info.vocabulary, 300);
  EXPECT_EQ(info.separator, 0);
  EXPECT_EQ(info.documents, 6u);
  EXPECT_EQ(info.text_bytes, 4387u);
  EXPECT_EQ(info.tokenizer_hash, 0x734e1db078f7fca1u);
  EXPECT_EQ(info.fingerprint, 0xa37eff0cb3d8b568u);
  ASSERT_EQ(info.sources.size(), 1u);
  EXPECT_EQ(info.sources[0].path, "text.txt");
  EXPECT_EQ(info.sources[0].hash, 0xbe3ededad73f1f74u);
  std::vector<int32_t> tokens(store->tokens());
  store->read(0, tokens);
  EXPECT_EQ(hash_bytes(tokens.data(), tokens.size() * sizeof(int32_t)), 11719194652928397818u);
  EXPECT_EQ(store->document_offset(6), tokens.size());
}

TEST_F(KeptFiles, CheckpointHasTheLossItHad) {
  const ProgramResult result = at_home("eval run --data run/data/valid.h5 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NEAR(Json::parse(result.out).at("loss"), 3.82439430443557, kKernels);
}

// The same tokens as a file of llm.c: its tokenizer is the model's, its text what they stand for.
TEST_F(KeptFiles, TokensOfAnotherProgramAreScoredLikeTheStore) {
  const auto store = TokenStore::open(dir.path() / "run/data/valid.h5");
  std::vector<int32_t> tokens(store->tokens());
  store->read(0, tokens);
  std::vector<int32_t> header(256);
  header[0] = 20240520;
  header[1] = 1;
  header[2] = static_cast<int32_t>(tokens.size());
  std::ofstream file(dir.path() / "valid.bin", std::ios::binary);
  file.write(reinterpret_cast<const char*>(header.data()), 1024);
  for (const int32_t id : tokens) {
    const auto stored = static_cast<uint16_t>(id);
    file.write(reinterpret_cast<const char*>(&stored), 2);
  }
  file.close();
  const ProgramResult ours = at_home("eval run --data run/data/valid.h5 --json");
  const ProgramResult theirs = at_home("eval run --data valid.bin --json");
  ASSERT_EQ(theirs.code, 0) << theirs.err;
  EXPECT_EQ(Json::parse(theirs.out), Json::parse(ours.out));
}

// The text it was built from is gone.
TEST_F(KeptFiles, RunGoesOn) {
  const ProgramResult result =
      at_home("train --resume auto --out run --extend schedule.steps=22 --new-kernel-plan --quiet");
  ASSERT_EQ(result.code, 0) << result.err;
  const std::vector<std::string> lines = deterministic_metrics(dir.path() / "run");
  ASSERT_EQ(lines.size(), 22u);
  EXPECT_NEAR(Json::parse(lines[20]).at("train/loss"), 3.79206845164299, kKernels);
  EXPECT_NEAR(Json::parse(lines[21]).at("train/loss"), 3.7823370452970266, kKernels);
  EXPECT_EQ(Json::parse(lines[19]).at("params/hash"), "5c7e3503975ea03c");
}

}  // namespace
}  // namespace isoflop
