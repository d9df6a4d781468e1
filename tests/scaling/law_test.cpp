// Published test vectors of the laws. Tolerances are half of the last printed digit.
#include "scaling/law.hpp"

#include "core/error.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace isoflop {
namespace {

void expect_digits(double value, double printed, double relative) {
  EXPECT_NEAR(value, printed, relative * printed);
}

struct Vector {
  double flops;
  const char* law;
  double n, d, ratio, loss;
};

TEST(LossLaw, OptimaAreThePublishedOnes) {
  const std::vector<Vector> vectors = {
      {1e18, "hoffmann", 8.0582e7, 2.0683e9, 25.67, 3.5353},
      {1e20, "hoffmann", 6.4486e8, 2.5846e10, 40.08, 2.5998},
      {1e18, "hoffmann-full", 9.4663e7, 1.7606e9, 18.60, 3.4481},
      {1e20, "hoffmann-full", 7.7487e8, 2.1509e10, 27.76, 2.5534},
      {5.76e23, "hoffmann-full", 4.0361e10, 2.3785e12, 58.93, 1.9184},
      {1e17, "epoch", 2.4737e7, 6.7374e8, 27.24, 4.3399},
      {1e18, "epoch", 8.0532e7, 2.0696e9, 25.70, 3.4905},
      {1e20, "epoch", 8.5348e8, 1.9528e10, 22.88, 2.5534},
      {5.76e23, "epoch", 7.2249e10, 1.3287e12, 18.39, 1.9744},
      {1e20, "muennighoff", 9.2183e8, 1.8080e10, 19.61, 2.5874}};
  for (const Vector& v : vectors) {
    SCOPED_TRACE(std::string(v.law) + " at " + std::to_string(v.flops));
    const LossLaw law = find_law(v.law);
    const LawOptimum best = law.optimum(v.flops);
    expect_digits(best.parameters, v.n, 1e-4);
    expect_digits(best.tokens, v.d, 1e-4);
    expect_digits(best.tokens / best.parameters, v.ratio, 4e-4);
    EXPECT_NEAR(best.loss, v.loss, 6e-5);
    expect_digits(law.tokens_for(best.parameters), best.tokens, 1e-9);
    expect_digits(law.parameters_for(best.tokens), best.parameters, 1e-9);
  }
}

TEST(LossLaw, CerebrasGivesThePapersLosses) {
  // Training FLOPs as printed, and the law's value there as computed from its equation.
  const std::vector<std::pair<double, double>> vectors = {
      {2.6e18, 2.603}, {1.3e19, 2.369}, {6.1e19, 2.168}, {2.8e20, 1.992},
      {1.1e21, 1.849}, {6.3e21, 1.687}, {2.3e22, 1.580}};
  const LossLaw law = find_law("cerebras");
  for (const auto& [flops, loss] : vectors) {
    const LawOptimum best = law.optimum(flops);
    EXPECT_NEAR(best.loss, loss, 6e-4);
    expect_digits(best.tokens, 20 * best.parameters, 1e-12);
  }
}

TEST(LossLaw, LongerTrainingOfSmallerModels) {
  const LawTerms epoch = find_law("epoch").terms;
  const std::vector<std::array<double, 3>> vectors = {{0.25, 17.9, 4.47},
                                                      {0.5, 2.519, 1.259},
                                                      {0.75, 1.378, 1.034},
                                                      {1.5, 0.702, 1.053},
                                                      {2, 0.574, 1.148}};
  for (const auto& [size, tokens, flops] : vectors) {
    const double ratio = tokens_ratio_at_equal_loss(epoch, size);
    expect_digits(ratio, tokens, 3e-3);
    expect_digits(ratio * size, flops, 3e-3);
  }
  EXPECT_TRUE(std::isinf(tokens_ratio_at_equal_loss(epoch, 0.01)));
  // The ratio leads to the same loss.
  const LawOptimum best = optimum_of(epoch, 1e20);
  EXPECT_NEAR(epoch.loss(best.parameters / 2, best.tokens * tokens_ratio_at_equal_loss(epoch, 0.5)),
              best.loss, 1e-12);
}

TEST(LossLaw, InferenceMakesTheBestModelSmaller) {
  const LawTerms epoch = find_law("epoch").terms;
  const LawOptimum best = optimum_of(epoch, 1e20);
  const LawOptimum unused = inference_optimum(epoch, best.loss, 0);
  expect_digits(unused.parameters, best.parameters, 1e-4);  // the minimum is flat
  expect_digits(unused.tokens, best.tokens, 1e-4);
  double last = unused.parameters;
  for (const double asked : {1e10, 1e11, 1e12, 1e13}) {
    const LawOptimum o = inference_optimum(epoch, best.loss, asked);
    EXPECT_LT(o.parameters, last);
    EXPECT_NEAR(epoch.loss(o.parameters, o.tokens), best.loss, 1e-9);
    // No neighbour of the same loss costs less.
    const auto cost = [&](double n) {
      const double d = std::pow(
          epoch.B / (best.loss - epoch.E - epoch.A * std::pow(n, -epoch.alpha)), 1 / epoch.beta);
      return 6 * n * d + 2 * n * asked;
    };
    EXPECT_LT(cost(o.parameters), cost(o.parameters * 1.02));
    EXPECT_LT(cost(o.parameters), cost(o.parameters * 0.98));
    last = o.parameters;
  }
  EXPECT_THROW(inference_optimum(epoch, 1.8, 0), UserError);
}

TEST(LossLaw, RepeatedDataIsTheDataConstrainedLaw) {
  const LawTerms terms = find_law("muennighoff").terms;
  EXPECT_NEAR(data_constrained_loss(terms, 6.34e9, 242e9, 25e9), 2.2256440889984477, 1e-9);
  EXPECT_NEAR(data_constrained_loss(terms, 8.67e9, 178e9, 25e9), 2.2269634075087867, 1e-9);
  const LawOptimum best = data_constrained_optimum(terms, 1e22, 25e9);
  expect_digits(best.tokens, 2.3734e11, 1e-3);  // a flat minimum
  expect_digits(best.parameters, 7.022e9, 1e-3);
  const std::vector<std::pair<double, double>> worth = {
      {2, 0.984}, {4, 0.931}, {8, 0.828}, {16, 0.661}, {40, 0.379}};
  for (const auto& [epochs, ratio] : worth)
    EXPECT_NEAR(effective_tokens(epochs * 1e9, 1e9) / (epochs * 1e9), ratio, 6e-4);
  for (const std::string& name : law_names())  // every law hears of repeats
    EXPECT_GT(find_law(name).loss(1e9, 2e10, 1e9), find_law(name).loss(1e9, 2e10)) << name;
  EXPECT_NEAR(effective_tokens(1e15, 1e9) / 1e9, 16.39, 6e-3);  // the most there is to gain
}

TEST(LossLaw, CriticalBatchIsThatOfZhangEtAl) {
  expect_digits(critical_batch_tokens(151e6) / 512, 985, 1e-3);
  expect_digits(critical_batch_tokens(1.2e9) / 512, 2610, 1e-3);
}

ModelConfig preset(const std::string& name) {
  Origins origins;
  return resolved(load_config({}, {"model.preset=" + name}, origins)).model;
}

TEST(Count, ParametersByEachConvention) {
  EXPECT_EQ(count_parameters(preset("cerebras-111m"), ParameterCount::all), 111050496);
  EXPECT_EQ(count_parameters(preset("cerebras-13b"), ParameterCount::all), 12853386240);
  EXPECT_EQ(count_parameters(preset("pythia-70m"), ParameterCount::all), 70426624);
  EXPECT_EQ(count_parameters(preset("pythia-70m"), ParameterCount::non_embedding), 18915328);
  EXPECT_EQ(count_parameters(preset("pythia-70m"), ParameterCount::one_table),
            70426624 - 50304 * 512);
  EXPECT_EQ(count_parameters(preset("llama-7b"), ParameterCount::all), 6738415616);
  EXPECT_EQ(count_parameters(preset("llama-7b"), ParameterCount::one_table),
            6738415616 - 32000 * 4096);
  // A tied table is one: the two counts agree.
  EXPECT_EQ(count_parameters(preset("gpt3-125m"), ParameterCount::one_table),
            count_parameters(preset("gpt3-125m"), ParameterCount::all));
}

TEST(Count, TheSumOfTheTableItself) {
  for (const char* name : {"cerebras-256m", "pythia-410m", "llama-7b", "tiny-gpt3"}) {
    ModelConfig model = preset(name);
    if (model.vocabulary == 0) model.vocabulary = 300;
    EXPECT_EQ(all_parameter_count(model), parameter_count(make_param_table(model))) << name;
  }
}

TEST(Count, CerebrasFlopsAreThePublishedOnes) {
  const std::vector<std::array<double, 2>> rows = {
      {2.22e9, 2.6e18},  {5.12e9, 1.3e19},  {1.18e10, 6.1e19}, {2.63e10, 2.8e20},
      {5.30e10, 1.1e21}, {1.33e11, 6.3e21}, {2.57e11, 2.3e22}};
  const char* names[] = {"111m", "256m", "590m", "1.3b", "2.7b", "6.7b", "13b"};
  for (size_t i = 0; i < rows.size(); ++i) {
    SCOPED_TRACE(names[i]);
    const double flops =
        training_flops_cerebras(preset(std::string("cerebras-") + names[i])) * rows[i][0];
    expect_digits(flops, rows[i][1], 0.025);  // two digits are printed
  }
}

TEST(Count, ChinchillaParametersOfTableA9) {
  const double rows[][6] = {{57, 576, 2304, 64, 9, 9},        {90, 640, 2560, 64, 10, 13},
                            {140, 768, 3072, 64, 12, 15},     {425, 1280, 5120, 128, 10, 18},
                            {816, 1536, 6144, 128, 12, 25},   {1429, 2048, 8192, 128, 16, 25},
                            {2639, 2560, 10240, 128, 20, 30}, {3530, 2688, 10752, 128, 22, 36},
                            {6796, 3584, 14336, 128, 28, 40}, {12295, 4608, 18432, 128, 36, 44},
                            {16183, 5120, 20480, 128, 40, 47}};
  for (const auto& [millions, d, ff, kv, heads, layers] : rows)
    expect_digits(chinchilla_parameters(d, ff, kv, heads, layers) / 1e6, millions,
                  millions > 900   ? 4e-4
                  : millions > 100 ? 2.5e-3
                                   : 6.6e-3);
  expect_digits(chinchilla_parameters(512, 2048, 64, 8, 8) / 1e6, 44, 1.2e-2);  // rounded to 44
}

/// Table A4: the ratio of the exact count to 6 N D, N to two or more digits, embedding and logits
/// left out.
TEST(Count, ChinchillaFlopsOfTableA4) {
  const double rows[][7] = {
      {73e6, 10, 640, 2560, 10, 64, 1.03},      {305e6, 20, 1024, 4096, 16, 64, 1.10},
      {552e6, 24, 1280, 5120, 10, 128, 1.08},   {1.143e9, 26, 1792, 7168, 14, 128, 1.04},
      {1.593e9, 28, 2048, 8192, 16, 128, 1.03}, {6.796e9, 40, 3584, 14336, 28, 128, 0.99}};
  for (const auto& [n, layers, d, ff, heads, kv, ratio] : rows) {
    ModelConfig model;
    model.layers = static_cast<int64_t>(layers);
    model.d_model = static_cast<int64_t>(d);
    model.d_ff = static_cast<int64_t>(ff);
    model.heads = model.kv_heads = static_cast<int64_t>(heads);
    model.head_dim = static_cast<int64_t>(kv);
    model.context = 2048;
    model.vocabulary = 32000;
    EXPECT_NEAR(training_flops_chinchilla(model, false) / (6 * n), ratio, 0.01) << n;
    EXPECT_GT(training_flops_chinchilla(model), training_flops_chinchilla(model, false));
  }
}

class LawFile : public FolderTest {};

TEST_F(LawFile, ReadsBackWhatWasWritten) {
  LossLaw law = find_law("epoch");
  law.residual = 0.004;
  law.counts = ParameterCount::matmul;
  law.resampled = {{1.8, 400, 2000, 0.34, 0.36}, {1.9, 500, 2100, 0.35, 0.37}};
  const LossLaw again = find_law(write("law.json", law_to_json(law)));
  EXPECT_EQ(law_to_json(again), law_to_json(([&] {
              LossLaw named = law;
              named.name = path("law.json").string();
              return named;
            })()));
  const LossRange range = loss_range(again, 1e9, 2e10);
  EXPECT_LT(range.low, again.loss(1e9, 2e10));
  EXPECT_GT(range.high, again.loss(1e9, 2e10));
}

TEST_F(LawFile, DamageIsNamed) {
  EXPECT_NE(message_of([] { find_law("epohc"); }).find("did you mean epoch?"), std::string::npos);
  for (const char* text : {"", "[]", "{}", "{\"isoflop_law\":2}", "{\"isoflop_law\":1}",
                           "{\"isoflop_law\":1,\"source\":\"\",\"counts\":\"all\",\"flops_low\":1,"
                           "\"flops_high\":2,\"residual\":0,"
                           "\"law\":{\"E\":1,\"A\":-1,\"B\":1,\"alpha\":1,\"beta\":1}}"}) {
    SCOPED_TRACE(text);
    EXPECT_THROW(find_law(write("law.json", text)), UserError);
  }
}

}  // namespace
}  // namespace isoflop
