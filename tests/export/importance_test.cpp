// Importance matrices: what the calibrating backend measures, the file, and who refuses what.
#include "export/importance.hpp"

#include "core/error.hpp"
#include "formats/gguf.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model/model.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <limits>
#include <numeric>

namespace isoflop {
namespace {

ModelConfig tiny_llama() {
  ModelConfig c;
  c.arch = Arch::llama;
  c.layers = 2;
  c.d_model = 32;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.rotary_fraction = 1;
  c.d_ff = 64;
  c.context = 16;
  c.vocabulary = 40;
  c.norm_eps = 1e-12;
  c.init_std = 0.2;
  return c;
}

ImportanceMatrix measured(int times) {
  const ModelConfig config = tiny_llama();
  const ParamTable table = make_param_table(config);
  ParamBuffer parameters(table, DType::f32, "test");
  initialize_parameters(table, 5, parameters);
  const auto plain = make_reference_backend(DType::f32);
  CalibratingBackend backend(*plain);
  Model model(config, table, parameters, backend, {.tokens = 16, .training = false});
  std::vector<int32_t> tokens(16), targets(16);
  std::iota(tokens.begin(), tokens.end(), 3);
  std::iota(targets.begin(), targets.end(), 4);
  for (int i = 0; i < times; ++i) model.evaluate({1, 16, tokens, targets});
  return backend.take(table, parameters);
}

TEST(Importance, CoversEveryMatrixOfTheBlocksAndNothingElse) {
  const ImportanceMatrix matrix = measured(1);
  EXPECT_EQ(matrix.inputs.size(), 14u);
  for (const char* layer : {"blk.0.", "blk.1."})
    for (const char* weight :
         {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
      EXPECT_TRUE(matrix.inputs.count(std::string(layer) + weight + ".weight")) << weight;
  EXPECT_TRUE(matrix.of("token_embd.weight", 32).empty());
  EXPECT_EQ(matrix.of("blk.1.ffn_down.weight", 64).size(), 64u);
  EXPECT_THROW(matrix.of("blk.1.ffn_down.weight", 32), UserError);
}

// RMSNorm with gains of 1 leaves every token a mean square of 1, so that the columns' mean squares
// add up to the width; sums in fp32 of 16 tokens.
TEST(Importance, IsTheMeanSquareOfEachColumn) {
  const ImportanceMatrix once = measured(1), twice = measured(2);
  const auto means = once.of("blk.0.attn_q.weight", 32);
  EXPECT_NEAR(std::accumulate(means.begin(), means.end(), 0.0), 32, 1e-3);
  EXPECT_NE(means[0], means[1]);
  EXPECT_EQ(means, once.of("blk.0.attn_v.weight", 32));
  EXPECT_NE(means, once.of("blk.0.ffn_up.weight", 32));
  EXPECT_EQ(once.inputs.at("blk.0.attn_q.weight").count, 16);
  EXPECT_EQ(twice.inputs.at("blk.0.attn_q.weight").count, 32);
  EXPECT_EQ(twice.of("blk.0.attn_q.weight", 32), means);
}

class ImportanceFile : public ::testing::Test {
 protected:
  void refuses(const std::string& words) {
    try {
      read_importance(file_);
      FAIL() << "accepted";
    } catch (const UserError& e) {
      EXPECT_NE(std::string(e.what()).find(words), std::string::npos) << e.what();
    }
  }
  test::TempDir folder_;
  fs::path file_ = folder_.path() / "imatrix.gguf";
};

TEST_F(ImportanceFile, ComesBackAsItWasWritten) {
  ImportanceMatrix matrix = measured(1);
  matrix.texts = {"book.txt", "other.txt"};
  matrix.chunks = 1;
  matrix.chunk_tokens = 16;
  write_importance(matrix, file_);
  const ImportanceMatrix read = read_importance(file_);
  EXPECT_EQ(read.texts, matrix.texts);
  EXPECT_EQ(read.chunks, 1u);
  EXPECT_EQ(read.chunk_tokens, 16u);
  ASSERT_EQ(read.inputs.size(), matrix.inputs.size());
  for (const auto& [name, inputs] : matrix.inputs) {
    EXPECT_EQ(read.inputs.at(name).sums, inputs.sums) << name;
    EXPECT_EQ(read.inputs.at(name).count, inputs.count) << name;
  }
  const GgufFile file(file_);  // the names and types that the runtime's quantizer looks for
  EXPECT_EQ(file.text("general.type"), "imatrix");
  EXPECT_EQ(file.u32("imatrix.chunk_count"), 1u);
  EXPECT_TRUE(file.find_tensor("blk.0.attn_q.weight.in_sum2"));
  EXPECT_TRUE(file.find_tensor("blk.0.attn_q.weight.counts"));
}

TEST_F(ImportanceFile, AWeightThatNothingWasSeenOfCountsAlikeEverywhere) {
  ImportanceMatrix matrix;
  matrix.inputs["blk.0.ffn_up.weight"] = {std::vector<float>(32, 5.0f), 0};
  EXPECT_EQ(matrix.of("blk.0.ffn_up.weight", 32), std::vector<float>(32, 1.0f));
}

TEST_F(ImportanceFile, RefusesWhatIsNone) {
  std::ofstream(file_) << "text";
  refuses("is no importance matrix");
  {
    GgufWriter writer(file_);
    writer.put_text("general.type", "model");
    writer.finish();
  }
  refuses("general.type is not imatrix");
  ImportanceMatrix matrix;
  for (const float bad :
       {-1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    matrix.inputs["blk.0.ffn_up.weight"] = {{1, bad}, 3};
    write_importance(matrix, file_);
    refuses("blk.0.ffn_up.weight.in_sum2 holds");
  }
}

// llama-imatrix's older file, byte by byte: entries, then name, calls, columns, means * calls.
TEST(Importance, TheOlderFileHasTheMeansToo) {
  test::TempDir dir;
  ImportanceMatrix matrix;
  matrix.chunks = 4;
  matrix.texts = {"t"};
  matrix.inputs["w"] = {{8, 0, 2}, 16};
  matrix.inputs["x"] = {{3}, 0};  // never used: counts as 1
  write_importance(matrix, dir.path() / "a.dat");
  const float values[] = {2, 0, 0.5f}, one = 4;
  std::string expected;
  const auto put = [&](const auto& value) {
    expected.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  for (const int32_t number : {2, 1}) put(number);
  expected += "w";
  for (const int32_t number : {4, 3}) put(number);
  put(values);
  put(int32_t{1});
  expected += "x";
  for (const int32_t number : {4, 1}) put(number);
  put(one);
  for (const int32_t number : {4, 1}) put(number);
  expected += "t";
  EXPECT_EQ(read_file(dir.path() / "a.dat"), expected);
  const ImportanceMatrix back = read_importance(dir.path() / "a.dat");
  EXPECT_EQ(back.of("w", 3), (std::vector<float>{0.5f, 0, 0.125f}));
  EXPECT_EQ(back.of("x", 1), std::vector<float>{1});
  EXPECT_EQ(back.chunks, 4u);
  EXPECT_EQ(back.texts, matrix.texts);
}

}  // namespace
}  // namespace isoflop
