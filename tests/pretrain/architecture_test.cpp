// FLOPs per token, counted by hand, and what parameters start from.
#include "pretrain/model/architecture.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

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

/// Root mean square of what a tensor starts from.
double drawn(const ModelConfig& config, const std::string& name) {
  const ParamTable table = make_param_table(config);
  ParamBuffer parameters(table, DType::f32, "test");
  initialize_parameters(table, 3, parameters);
  const View values = parameters[static_cast<size_t>(find_param(table, name))];
  double sum = 0;
  for (int64_t i = 0; i < values.size(); ++i)
    sum += std::pow(static_cast<double>(values.as<float>()[i]), 2);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Thousands of draws: a deviation is known to 3 percent.
TEST(Initialization, Gpt2sHasSmallerProjectionsIntoTheResidualStream) {
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama}) {
    ModelConfig c = small(arch);
    c.d_model = 64;
    c.head_dim = 16;
    c.d_ff = 128;
    c.layers = 8;
    c.rotary_fraction = arch == Arch::gpt3 ? 0 : 1;
    EXPECT_NEAR(drawn(c, "embedding.weight"), 0.02, 0.03 * 0.02);
    EXPECT_NEAR(drawn(c, "blocks.3.mlp.up.weight"), 0.02, 0.03 * 0.02);
    for (const char* name : {"blocks.0.attention.out.weight", "blocks.7.mlp.down.weight"})
      EXPECT_NEAR(drawn(c, name), 0.02 / 4, 0.03 * 0.02 / 4) << name;  // sqrt(2 x 8 layers)
    EXPECT_EQ(drawn(c, "norm.weight"), 1);
    c.initializer = "neox";
    EXPECT_NEAR(drawn(c, "blocks.3.mlp.up.weight"), std::sqrt(2.0 / (5 * 64)), 0.03 * 0.079);
    EXPECT_NEAR(drawn(c, "blocks.7.mlp.down.weight"), 2 / (8 * 8.0), 0.03 * 0.031);
  }
}

}  // namespace
}  // namespace isoflop
