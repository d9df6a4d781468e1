// Folding in double precision: a model with multipliers and the plain model that carries them in
// its weights are the same function, down to rounding.
#include "pretrain/fold.hpp"

#include "core/rng.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model/model.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

struct Case {
  Arch arch;
  bool tied;
};

std::vector<double> losses_of(const ModelConfig& config,
                              const ParamTable& table,
                              const ParamBuffer& parameters) {
  const auto backend = make_reference_backend(DType::f64);
  std::vector<int32_t> tokens, targets;
  for (uint64_t i = 0; i < 24; ++i) {
    tokens.push_back(static_cast<int32_t>(philox(7, 1, i)[0] % 50));
    targets.push_back(static_cast<int32_t>(philox(7, 2, i)[0] % 50));
  }
  Model model(config, table, parameters, *backend, {.tokens = 24, .training = false});
  model.evaluate({2, 12, tokens, targets});
  std::vector<double> losses;
  for (int64_t i = 0; i < 24; ++i) losses.push_back(load_scalar(model.losses(), i, 0));
  return losses;
}

class Folding : public ::testing::TestWithParam<Case> {};

INSTANTIATE_TEST_SUITE_P(Models,
                         Folding,
                         ::testing::Values(Case{Arch::gpt3, true},
                                           Case{Arch::gpt3, false},
                                           Case{Arch::pythia, true},
                                           Case{Arch::pythia, false},
                                           Case{Arch::llama, true},
                                           Case{Arch::llama, false}),
                         [](const auto& param_info) {
                           return std::string(name_of(param_info.param.arch)) +
                                  (param_info.param.tied ? "Tied" : "Untied");
                         });

TEST_P(Folding, IsExactInDoublePrecision) {
  ModelConfig config;
  config.arch = GetParam().arch;
  config.tied_embeddings = GetParam().tied;
  config.layers = 2;
  config.d_model = 16;
  config.heads = 4;
  config.kv_heads = is_llama(config.arch) ? 2 : 4;
  config.head_dim = 4;
  config.rotary_fraction = config.arch == Arch::gpt3 ? 0 : config.arch == Arch::pythia ? 0.5 : 1;
  config.d_ff = 24;
  config.context = 12;
  config.vocabulary = 50;
  config.init_std = 0.3;
  config.embedding_multiplier = 7.3;
  config.residual_multiplier = 0.31;
  config.output_multiplier = 0.137;
  config.attention_multiplier = 0.43;
  const ParamTable table = make_param_table(config);
  ParamBuffer parameters(table, DType::f64, "test");
  initialize_parameters(table, 3, parameters);
  for (size_t i = 0; i < table.size(); ++i)  // gains and biases too, so that their folds show
    for (int64_t k = 0; table[i].is_vector() && k < table[i].cols; ++k)
      parameters[i].as<double>()[k] += 0.2 * normal01(9, i, static_cast<uint64_t>(k));
  const std::vector<double> expected = losses_of(config, table, parameters);

  for (size_t i = 0; i < table.size(); ++i) {
    const int64_t width = table[i].is_vector() ? 1 : table[i].cols;
    const int64_t folded = table[i].fold_rows > 0 ? table[i].fold_rows * width : table[i].size();
    for (int64_t k = 0; k < folded; ++k)
      parameters[i].as<double>()[k] *= fold_factor(config, table[i].fold);
  }
  ModelConfig plain = config;
  plain.embedding_multiplier = plain.residual_multiplier = 1;
  plain.output_multiplier = plain.attention_multiplier = 1;
  const std::vector<double> folded = losses_of(plain, table, parameters);
  // Losses of about 4 whose sums differ in order by a few roundings of 1e-16.
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(folded[i], expected[i], 1e-12) << i;
}

}  // namespace
}  // namespace isoflop
