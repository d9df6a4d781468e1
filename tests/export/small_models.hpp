// Models small enough to compare whole, and what each token costs them.
#pragma once
#include "core/rng.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/model/model.hpp"
#include "tests/export/tokenizers.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop::test {

inline ModelConfig small_model(Arch arch, bool tied, bool multipliers) {
  ModelConfig c;
  c.arch = arch;
  c.layers = 2;
  c.d_model = 32;
  c.heads = 4;
  c.kv_heads = arch == Arch::llama ? 2 : 4;
  c.rotary_fraction = arch == Arch::gpt3 ? 0 : arch == Arch::pythia ? 0.25 : 1;
  c.head_dim = 8;
  c.d_ff = 64;
  c.context = 16;
  c.vocabulary = 264;  // more than the tokenizer has
  c.tied_embeddings = tied;
  c.init_std = 0.2;  // large, so that a wrong fold shows
  if (!multipliers) return c;
  c.embedding_multiplier = 3;
  c.residual_multiplier = 0.6;
  c.output_multiplier = 0.4;
  c.attention_multiplier = 0.5;
  return c;
}

/// A model whose vectors are random too, so that folds of biases and gains show.
struct SmallModel {
  ModelConfig config;
  ParamTable table;
  ParamBuffer parameters;
  std::unique_ptr<Tokenizer> tokenizer = byte_level_tokenizer();

  explicit SmallModel(const ModelConfig& c)
      : config(c), table(make_param_table(c)), parameters(table, DType::f32, "test") {
    initialize_parameters(table, 5, parameters);
    for (size_t i = 0; i < table.size(); ++i)
      for (int64_t k = 0; table[i].is_vector() && k < table[i].cols; ++k)
        parameters[i].as<float>()[k] +=
            static_cast<float>(0.1 * normal01(9, i, static_cast<uint64_t>(k)));
  }
  float* find(const std::string& name) {
    return parameters[static_cast<size_t>(find_param(table, name))].as<float>();
  }
};

inline std::vector<float> token_losses(const ModelConfig& config,
                                       const ParamTable& table,
                                       const ParamBuffer& parameters) {
  const auto backend = make_reference_backend(DType::f32);
  std::vector<int32_t> tokens, targets;
  for (uint64_t i = 0; i < 32; ++i) {
    tokens.push_back(static_cast<int32_t>(philox(7, 1, i)[0] % 260));
    targets.push_back(static_cast<int32_t>(philox(7, 2, i)[0] % 260));
  }
  Model model(config, table, parameters, *backend, {.tokens = 32, .training = false});
  model.evaluate({2, 16, tokens, targets});
  const View losses = model.losses();
  std::vector<float> result;
  for (int64_t i = 0; i < losses.rows; ++i)
    result.push_back(static_cast<float>(load_scalar(losses, i, 0)));
  return result;
}

}  // namespace isoflop::test
