// The model's backward against a complex step through the very same model code, and its promises of
// equality: recompute levels, decoding against a whole forward, batches of any size.
#include "pretrain/model/model.hpp"

#include "core/rng.hpp"
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "ops/reference/backend.hpp"

#include <gtest/gtest.h>

#include <complex>
#include <cstring>

namespace isoflop {
namespace {

ModelConfig tiny(Arch arch, bool tied) {
  ModelConfig c;
  c.arch = arch;
  c.layers = 2;
  c.d_model = 8;
  c.heads = 2;
  c.kv_heads = arch == Arch::llama ? 1 : 2;
  c.head_dim = 4;
  c.rotary_fraction = arch == Arch::gpt3 ? 0 : arch == Arch::pythia ? 0.5 : 1;
  c.d_ff = 12;
  c.context = 6;
  c.vocabulary = 11;
  c.tied_embeddings = tied;
  c.init_std = 0.3;  // large, so that no gradient is lost in rounding
  c.embedding_multiplier = 1.3;
  c.residual_multiplier = 0.7;
  c.output_multiplier = 0.9;
  c.attention_multiplier = 1.1;
  return c;
}

struct Data {
  std::vector<int32_t> tokens, targets;
  Batch batch;
  Data(const ModelConfig& c, int64_t sequences, int64_t length) {
    for (int64_t i = 0; i < sequences * length; ++i) {
      tokens.push_back(static_cast<int32_t>(philox(7, 1, i)[0] % c.vocabulary));
      targets.push_back(static_cast<int32_t>(philox(7, 2, i)[0] % c.vocabulary));
    }
    if (targets.size() > 3) targets[3] = kIgnoreTarget;
    if (tokens.size() > 8) tokens[2] = tokens[8] = 4;  // documents end within both sequences
    batch = {sequences, length, tokens, targets};
  }
};

/// A model with its parameters on one backend.
struct Rig {
  ModelConfig config;
  ParamTable table, gradient_table;
  ParamBuffer parameters, gradients;
  std::unique_ptr<Model> model;
  Rig(const ModelConfig& c,
      Backend& backend,
      int64_t tokens,
      Recompute recompute = Recompute::none,
      bool training = true)
      : config(c),
        table(make_param_table(c)),
        gradient_table(make_gradient_table(c)),
        parameters(table, backend.state_dtype(), "parameters"),
        gradients(gradient_table, backend.state_dtype(), "gradients") {
    initialize_parameters(table, 5, parameters);
    for (size_t i = 0; i < table.size(); ++i)  // gains and biases away from 1 and 0 as well
      if (table[i].is_vector())
        for (int64_t j = 0; j < table[i].size(); ++j)
          store_scalar(
              parameters[i], 0, j,
              load_scalar(parameters[i], 0, j) + 0.2 * normal01(9, i, static_cast<uint64_t>(j)));
    model = std::make_unique<Model>(config, table, parameters, backend,
                                    BlockShape{tokens, recompute, training});
  }
};

struct Difference {
  double worst = 0, largest = 0;  // of an element; of what is wanted
};
Difference difference(View got, View want) {
  Difference d;
  for (int64_t r = 0; r < want.rows; ++r)
    for (int64_t c = 0; c < want.cols; ++c) {
      const double value = load_scalar(want, r, c);
      d.largest = std::max(d.largest, std::abs(value));
      d.worst = std::max(d.worst, std::abs(load_scalar(got, r, c) - value));
    }
  return d;
}

/// Every option that experts switch on, at once.
ModelConfig with_options(ModelConfig c) {
  c.biases = false;
  c.qk_norm = true;
  c.z_loss = 0.01;
  c.logit_softcap = 2;
  c.document_mask = true;
  c.separator = 4;
  c.rope_scaling = "llama3";
  c.rope_scaling_factor = 4;
  c.rope_original_context = 9;
  c.initializer = "neox";
  return c;
}

struct Case {
  Arch arch;
  bool tied;
  bool options = false;
};
ModelConfig config_of(const Case& c) {
  const ModelConfig config = tiny(c.arch, c.tied);
  return c.options ? with_options(config) : config;
}
class EveryModel : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Architectures,
                         EveryModel,
                         testing::Values(Case{Arch::gpt3, true},
                                         Case{Arch::gpt3, false},
                                         Case{Arch::pythia, true},
                                         Case{Arch::pythia, false},
                                         Case{Arch::llama, true},
                                         Case{Arch::llama, false},
                                         Case{Arch::gpt3, true, true},
                                         Case{Arch::pythia, false, true},
                                         Case{Arch::llama, true, true}),
                         [](const auto& param_info) {
                           return std::string(name_of(param_info.param.arch)) +
                                  (param_info.param.tied ? "Tied" : "Untied") +
                                  (param_info.param.options ? "WithOptions" : "");
                         });

// In training mode on both sides, so that what only training adds to the loss counts.
TEST_P(EveryModel, EveryParameterGradientIsItsComplexStep) {
  const ModelConfig config = config_of(GetParam());
  const Data data(config, 2, 5);
  const double scale = 0.125;

  const auto real = make_reference_backend(DType::f64);
  Rig exact(config, *real, 10);
  exact.model->forward_backward(data.batch, exact.gradients, scale);

  const auto complex = make_reference_backend(DType::c128);
  Rig probe(config, *complex, 10);
  constexpr double kStep = 1e-100;
  for (size_t i = 0; i < probe.table.size(); ++i) {
    double scale_of_tensor = 0, worst = 0;
    for (int64_t r = 0; r < probe.table[i].rows; ++r)
      for (int64_t c = 0; c < probe.table[i].cols; ++c) {
        std::complex<double>& p = probe.parameters[i].row<std::complex<double>>(r)[c];
        p += std::complex<double>(0, kStep);
        probe.model->refresh_weights();
        probe.model->forward_backward(data.batch, probe.gradients, 0.5);
        p = p.real();
        double wanted = 0;
        for (int64_t t = 0; t < 10; ++t)
          wanted += probe.model->losses().row<std::complex<double>>(t)[0].imag() / kStep * scale;
        double got = load_scalar(exact.gradients[i], r, c);
        if (config.tied_embeddings && i + 1 == probe.table.size())
          got += load_scalar(exact.gradients[i + 1], r, c);  // the head's share
        scale_of_tensor = std::max(scale_of_tensor, std::abs(wanted));
        worst = std::max(worst, std::abs(got - wanted));
      }
    EXPECT_GT(scale_of_tensor, 1e-8)
        << probe.table[i].name << ": a gradient of zero proves nothing";
    // Both sides are exact up to rounding in double, some 50 operations deep.
    EXPECT_LT(worst, 1e-10 * scale_of_tensor) << probe.table[i].name;
  }
}

TEST_P(EveryModel, CpuGradientsAgreeWithTheReferenceInDouble) {
  const ModelConfig config = config_of(GetParam());
  const Data data(config, 2, 5);
  const auto real = make_reference_backend(DType::f64);
  ThreadTeam team(2);
  const auto cpu = make_cpu_backend(team);
  Rig exact(config, *real, 10), fast(config, *cpu, 10);
  const double wanted = exact.model->forward_backward(data.batch, exact.gradients, 1);
  const double got = fast.model->forward_backward(data.batch, fast.gradients, 1);
  EXPECT_NEAR(got, wanted, 1e-5 * wanted);
  for (size_t i = 0; i < exact.gradient_table.size(); ++i) {
    const auto [worst, largest] = difference(fast.gradients[i], exact.gradients[i]);
    // fp32 rounds at 6e-8; some 100 roundings in a chain and vector exp/tanh of a few ulp.
    EXPECT_LT(worst, 2e-5 * largest) << exact.gradient_table[i].name;
  }
}

// 600 tokens: the head takes them in two slices, of which the first ends within a sequence.
TEST_P(EveryModel, ABatchBeyondASliceOfTheHeadIsTheSumOfItsHalves) {
  const ModelConfig config = config_of(GetParam());
  constexpr int64_t kSequences = 100, kLength = 6, kHalf = kSequences / 2 * kLength;
  static_assert(kHalf < kHeadTokens && kHeadTokens < 2 * kHalf && kHeadTokens % kLength != 0);
  const Data data(config, kSequences, kLength);
  const auto real = make_reference_backend(DType::f64);
  Rig whole(config, *real, 2 * kHalf), halves(config, *real, kHalf);
  const double got = whole.model->forward_backward(data.batch, whole.gradients, 1);
  double wanted = 0;
  for (const int64_t first : {int64_t{0}, kHalf}) {
    const auto half = [&](const std::vector<int32_t>& all) {
      return std::span<const int32_t>(all).subspan(static_cast<size_t>(first), kHalf);
    };
    wanted += halves.model->forward_backward(
        {kSequences / 2, kLength, half(data.tokens), half(data.targets)}, halves.gradients, 1);
    for (int64_t row = 0; row < kHalf; ++row)
      EXPECT_EQ(load_scalar(whole.model->losses(), first + row, 0),
                load_scalar(halves.model->losses(), row, 0));
  }
  EXPECT_NEAR(got, wanted, 1e-12 * wanted);  // 600 terms in another order
  for (size_t i = 0; i < whole.gradient_table.size(); ++i) {
    const auto [worst, largest] = difference(whole.gradients[i], halves.gradients[i]);
    EXPECT_LE(worst, 1e-12 * largest) << whole.gradient_table[i].name;
  }
}

TEST_P(EveryModel, RecomputeLevelsGiveTheSameBits) {
  const ModelConfig config = config_of(GetParam());
  const Data data(config, 2, 5);
  ThreadTeam team(2);
  const auto cpu = make_cpu_backend(team);
  Rig base(config, *cpu, 10);
  const double wanted = base.model->forward_backward(data.batch, base.gradients, 1);
  size_t last_bytes = base.model->plan().bytes();
  for (const Recompute level : {Recompute::cheap, Recompute::ffn, Recompute::block}) {
    Rig rig(config, *cpu, 10, level);
    EXPECT_EQ(rig.model->forward_backward(data.batch, rig.gradients, 1), wanted);
    EXPECT_EQ(
        std::memcmp(rig.gradients.flat().data, base.gradients.flat().data, base.gradients.bytes()),
        0);
    EXPECT_LT(rig.model->plan().bytes(), last_bytes) << "a higher level must need less memory";
    last_bytes = rig.model->plan().bytes();
  }
}

TEST_P(EveryModel, ThreadsDoNotChangeTheBits) {
  ModelConfig config = config_of(GetParam());
  config.d_model = 64;
  config.head_dim = 32;
  config.d_ff = 160;
  config.context = 48;
  config.vocabulary = 300;
  const Data data(config, 6, 48);
  ThreadTeam one(1);
  const auto single = make_cpu_backend(one);
  Rig base(config, *single, 6 * 48);
  const double wanted = base.model->forward_backward(data.batch, base.gradients, 1);
  for (const int threads : {2, 3}) {
    ThreadTeam team(threads);
    const auto backend = make_cpu_backend(team);
    Rig rig(config, *backend, 6 * 48);
    EXPECT_EQ(rig.model->forward_backward(data.batch, rig.gradients, 1), wanted) << threads;
    EXPECT_EQ(
        std::memcmp(rig.gradients.flat().data, base.gradients.flat().data, base.gradients.bytes()),
        0)
        << threads << " threads";
  }
}

TEST_P(EveryModel, DecodingTokenByTokenEqualsAWholeForward) {
  const ModelConfig config = config_of(GetParam());
  const Data data(config, 1, 6);
  const auto real = make_reference_backend(DType::f64);
  Rig whole(config, *real, 6, Recompute::none, false);
  Rig prefill(config, *real, 6, Recompute::none, false);
  Rig single(config, *real, 6, Recompute::none, false);
  KvCache cache(config, *real), prefill_cache(config, *real);
  for (int64_t n = 1; n <= 6; ++n) {
    const View step = single.model->decode({&data.tokens[n - 1], 1}, cache);
    KvCache fresh(config, *real);
    const View at_once = whole.model->decode({data.tokens.data(), static_cast<size_t>(n)}, fresh);
    double log_sum = 0;
    for (int64_t v = 0; v < config.vocabulary; ++v) {
      EXPECT_NEAR(load_scalar(step, 0, v), load_scalar(at_once, 0, v), 1e-12);
      log_sum += std::exp(load_scalar(step, 0, v));
    }
    // The same logits score the next token as evaluate() does.
    whole.model->evaluate({1,
                           n,
                           {data.tokens.data(), static_cast<size_t>(n)},
                           {data.targets.data(), static_cast<size_t>(n)}});
    if (data.targets[n - 1] != kIgnoreTarget) {
      EXPECT_NEAR(load_scalar(whole.model->losses(), n - 1, 0),
                  std::log(log_sum) - load_scalar(step, 0, data.targets[n - 1]), 1e-12);
    }
  }
  prefill.model->decode({data.tokens.data(), 4}, prefill_cache);
  const View last = prefill.model->decode({data.tokens.data() + 4, 2}, prefill_cache);
  KvCache again(config, *real);
  const View wanted = whole.model->decode({data.tokens.data(), 6}, again);
  for (int64_t v = 0; v < config.vocabulary; ++v)
    EXPECT_NEAR(load_scalar(last, 0, v), load_scalar(wanted, 0, v), 1e-12);
}

TEST(Model, ParameterCountsFollowTheFormula) {
  ModelConfig c = tiny(Arch::gpt3, true);
  c.layers = 10;
  c.d_model = 768;
  c.heads = c.kv_heads = 12;
  c.head_dim = 64;
  c.d_ff = 3072;
  c.context = 2048;
  c.vocabulary = 50257;
  EXPECT_EQ(parameter_count(make_param_table(c)), 111050496);  // Cerebras-GPT 111M, App. E
  ModelConfig l = c;
  l.arch = Arch::llama;
  l.tied_embeddings = false;
  l.layers = 32;
  l.d_model = 4096;
  l.heads = l.kv_heads = 32;
  l.head_dim = 128;
  l.d_ff = 11008;
  l.vocabulary = 32000;
  EXPECT_EQ(parameter_count(make_param_table(l)), 6738415616);  // LLaMA 7B
}

TEST(Model, EveryParameterIsFilledFromItsNameAlone) {
  const ModelConfig c = tiny(Arch::gpt3, false);
  const ParamTable table = make_param_table(c);
  ParamTable reversed(table.rbegin(), table.rend());
  ParamBuffer a(table, DType::f32, "a"), b(reversed, DType::f32, "b");
  initialize_parameters(table, 1, a);
  initialize_parameters(reversed, 1, b);
  for (size_t i = 0; i < table.size(); ++i)
    EXPECT_EQ(std::memcmp(a[i].data, b[table.size() - 1 - i].data, a[i].bytes()), 0)
        << table[i].name;
}

}  // namespace
}  // namespace isoflop
