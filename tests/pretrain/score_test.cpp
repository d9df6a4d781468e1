// Scoring a long sequence: every token but the first exactly once, the last partial window
// included.
#include "pretrain/train/score.hpp"

#include "core/rng.hpp"
#include "ops/reference/backend.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace isoflop {
namespace {

TEST(Score, PredictsEveryTokenButTheFirstOnce) {
  ModelConfig config;
  config.layers = 1;
  config.d_model = 8;
  config.heads = config.kv_heads = 2;
  config.head_dim = 4;
  config.d_ff = 16;
  config.context = 6;
  config.vocabulary = 11;
  const auto backend = make_reference_backend(DType::f64);
  const ParamTable table = make_param_table(config);
  ParamBuffer parameters(table, DType::f64, "parameters");
  initialize_parameters(table, 3, parameters);
  Model model(config, table, parameters, *backend,
              {.tokens = 3 * config.context, .recompute = Recompute::none, .training = false});
  for (const uint64_t count : {1, 2, 6, 7, 8, 13, 24, 25, 40}) {
    std::vector<int32_t> tokens(count);
    for (uint64_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>(philox(5, 0, i)[0] % 11);
    const TokenReader read = [&](uint64_t first, std::span<int32_t> out) {
      std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
    };
    std::vector<double> one_by_one;  // windows of the context, each on its own
    for (uint64_t first = 0; first + 1 < count; first += 6) {
      const int64_t length = static_cast<int64_t>(std::min<uint64_t>(6, count - 1 - first));
      const std::span<const int32_t> rest = std::span<const int32_t>(tokens).subspan(first);
      model.evaluate({1, length, rest.first(length), rest.subspan(1, length)});
      for (int64_t i = 0; i < length; ++i) one_by_one.push_back(load_scalar(model.losses(), i, 0));
    }
    for (const int64_t batch : {1, 2, 3}) {
      std::vector<double> nats;
      const Score score = score_tokens(model, count, read, batch, &nats);
      EXPECT_EQ(score.tokens, static_cast<int64_t>(count) - 1);
      EXPECT_EQ(nats, one_by_one) << count << " tokens, " << batch << " windows at once";
      EXPECT_NEAR(score.nats, std::accumulate(nats.begin(), nats.end(), 0.0), 1e-9);
    }
  }
}

}  // namespace
}  // namespace isoflop
