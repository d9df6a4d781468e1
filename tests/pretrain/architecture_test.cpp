// FLOPs per token, counted by hand.
#include "pretrain/model/architecture.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

ModelConfig small(Arch arch) {
  ModelConfig c;
  c.arch = arch;
  c.layers = 2;
  c.d_model = 8;
  c.heads = 4;
  c.kv_heads = 4;
  c.head_dim = 2;
  c.d_ff = 32;
  c.context = 16;
  c.vocabulary = 100;
  return c;
}

TEST(TrainingFlops, Gpt3) {
  ModelConfig c = small(Arch::gpt3);
  // A block: 8 x 24 (qkv) + 8 x 8 + 8 x 32 + 32 x 8 = 768 weights. Head: 800, tied or not.
  const double weights = 2 * 768 + 800;
  const double attention = 2.0 * 16 * 8;  // L T d
  EXPECT_EQ(training_flops_per_token(c), 6 * weights + 12 * attention);
  EXPECT_EQ(training_flops_per_token(c, CountAttention::causal), 6 * weights + 6 * attention);
  c.tied_embeddings = false;
  EXPECT_EQ(training_flops_per_token(c), 6 * weights + 12 * attention);
}

TEST(TrainingFlops, LlamaWithGroupedQueries) {
  ModelConfig c = small(Arch::llama);
  c.kv_heads = 2;
  c.tied_embeddings = false;
  // A block: q 8 x 8, k and v 8 x 4 each, out 8 x 8, and gate, up and down 8 x 32 each.
  const double weights = 2 * (64 + 2 * 32 + 64 + 3 * 256) + 800;
  const double attention = 2.0 * 16 * 8;  // grouped queries share keys but not products
  EXPECT_EQ(training_flops_per_token(c), 6 * weights + 12 * attention);
  EXPECT_EQ(training_flops_per_token(c, CountAttention::causal), 6 * weights + 6 * attention);
  c.tied_embeddings = true;
  EXPECT_EQ(training_flops_per_token(c), 6 * weights + 12 * attention);
}

}  // namespace
}  // namespace isoflop
