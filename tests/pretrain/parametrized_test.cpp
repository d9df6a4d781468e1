// muP on real models: the published Cerebras-GPT configurations, the three equivalent forms of
// Yang et al. 2022 as three trainings, and what is refused.
#include "pretrain/model/parametrized.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/train_step.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

RunConfig load(const std::vector<std::string>& overrides) {
  Origins origins;
  return resolved(load_config(std::nullopt, overrides, origins));
}

std::string complaint(std::vector<std::string> overrides) {
  overrides.push_back("schedule.steps=1");
  try {
    load(overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

const ParamSpec& tensor(const ParamTable& table, const std::string& name) {
  const int i = find_param(table, name);
  EXPECT_GE(i, 0) << name;
  return table[static_cast<size_t>(i)];
}

// Dey et al. 2023 and the released configurations: base width 256, filter 1024, deviation 0.08,
// rate 6e-3, embeddings x10, logits x1/m, attention 1/head_dim; epsilon and decay the same for all.
TEST(ParametrizedModel, CerebrasMupPresetsAreThePublishedConfigurations) {
  struct Published {
    const char* name;
    int64_t layers, d_model, heads;
    double m;
  };
  const Published all[] = {{"cerebras-111m-mup", 10, 768, 12, 3},
                           {"cerebras-256m-mup", 14, 1088, 17, 4.25},
                           {"cerebras-590m-mup", 18, 1536, 12, 6},
                           {"cerebras-1.3b-mup", 24, 2048, 16, 8},
                           {"cerebras-2.7b-mup", 32, 2560, 32, 10}};
  for (const Published& p : all) {
    SCOPED_TRACE(p.name);
    const RunConfig config = load({std::string("model.preset=") + p.name});
    EXPECT_EQ(config.model.layers, p.layers);
    EXPECT_EQ(config.model.d_model, p.d_model);
    EXPECT_EQ(config.model.d_ff, 4 * p.d_model);
    EXPECT_EQ(config.model.embedding_multiplier, 10);
    EXPECT_DOUBLE_EQ(config.model.output_multiplier, 1 / p.m);
    EXPECT_EQ(config.model.residual_multiplier, 1);
    const double head_dim = static_cast<double>(p.d_model / p.heads);
    EXPECT_DOUBLE_EQ(config.model.attention_multiplier / std::sqrt(head_dim), 1 / head_dim);
    EXPECT_EQ(config.optimizer.lr, 6e-3);
    EXPECT_EQ(config.optimizer.weight_decay, 0.1);
    EXPECT_EQ(config.schedule.decay, "linear");
    EXPECT_EQ(config.schedule.final_lr_fraction, 0.1);
    const ParamTable table = make_parametrized_table(config);
    const double residual = 0.08 / std::sqrt(p.m * 2 * static_cast<double>(p.layers));
    for (const ParamSpec& spec : table) {
      EXPECT_EQ(spec.eps_scale, 1) << spec.name;
      EXPECT_EQ(spec.decay_scale, 1) << spec.name;
      EXPECT_DOUBLE_EQ(spec.lr_scale, spec.role == ParamRole::hidden ? 1 / p.m : 1) << spec.name;
    }
    EXPECT_DOUBLE_EQ(tensor(table, "embedding.weight").init_std, 0.08);
    EXPECT_DOUBLE_EQ(tensor(table, "positions.weight").init_std, 0.08);
    EXPECT_DOUBLE_EQ(tensor(table, "blocks.0.attention.qkv.weight").init_std,
                     0.08 / std::sqrt(p.m));
    EXPECT_DOUBLE_EQ(tensor(table, "blocks.0.mlp.up.weight").init_std, 0.08 / std::sqrt(p.m));
    EXPECT_DOUBLE_EQ(tensor(table, "blocks.9.attention.out.weight").init_std, residual);
    EXPECT_DOUBLE_EQ(tensor(table, "blocks.9.mlp.down.weight").init_std, residual);
  }
}

const std::vector<std::string> kTiny = {"model.arch=llama",
                                        "model.d_model=16",
                                        "model.heads=4",
                                        "model.kv_heads=2",
                                        "model.d_ff=40",
                                        "model.layers=2",
                                        "model.context=12",
                                        "model.vocabulary=50",
                                        "model.tied_embeddings=false",
                                        "schedule.batch_tokens=24",
                                        "schedule.steps=20",
                                        "optimizer.eps=0",
                                        "parametrization.base_d_model=4"};

std::vector<std::string> tiny_with(std::initializer_list<std::string> more) {
  std::vector<std::string> all = kTiny;
  all.insert(all.end(), more);
  return all;
}

// llama's automatic d_ff is 8/3 d_model rounded up to 32: 192 at 64, 704 at 256, which is 3.67
// times as many, not 4. A d_ff that was set is taken to have been in proportion.
TEST(ParametrizedModel, TheBaseOfAnAutomaticDffIsTheBaseModelsOwn) {
  const auto base_of = [](const std::string& arch, const std::string& more) {
    return load({"model.arch=" + arch, "model.layers=1", "model.d_model=256", "model.heads=4",
                 "model.context=8", "schedule.batch_tokens=8", "schedule.steps=1",
                 "parametrization.kind=mup", "parametrization.base_d_model=64", more})
        .parametrization.base_d_ff;
  };
  const std::string nothing = "data.seed=1";
  EXPECT_EQ(base_of("llama", nothing), 192);
  EXPECT_EQ(base_of("gpt3", nothing), 256);
  EXPECT_EQ(base_of("llama", "model.d_ff=704"), 176);
  EXPECT_EQ(base_of("llama", "parametrization.base_d_ff=100"), 100);
}

TEST(ParametrizedModel, SwigluGoesByTheRatioOfDff) {
  const RunConfig config =
      load(tiny_with({"parametrization.kind=mup", "parametrization.base_d_ff=8"}));
  const ParamTable table = make_parametrized_table(config);
  EXPECT_DOUBLE_EQ(tensor(table, "blocks.0.mlp.down.weight").lr_scale, 1. / 5);
  for (const char* name : {"mlp.up", "mlp.gate", "attention.q", "attention.k", "attention.v"})
    EXPECT_DOUBLE_EQ(tensor(table, std::string("blocks.1.") + name + ".weight").lr_scale, 1. / 4);
  EXPECT_DOUBLE_EQ(tensor(table, "head.weight").lr_scale, 1);
}

TEST(ParametrizedModel, TheBaseModelIsThatOfSp) {
  const ParamTable sp = make_parametrized_table(load(kTiny));
  const RunConfig config =
      load(tiny_with({"parametrization.kind=mup", "parametrization.base_d_model=16"}));
  const ParamTable mup = make_parametrized_table(config);
  for (size_t i = 0; i < sp.size(); ++i) {
    EXPECT_EQ(sp[i].init_std, mup[i].init_std);
    EXPECT_EQ(mup[i].lr_scale, 1);
  }
  EXPECT_EQ(config.model.output_multiplier, 1);
}

TEST(ParametrizedModel, CompletePScalesBranchesAndNotTheirStart) {
  const RunConfig config =
      load(tiny_with({"parametrization.kind=completep", "parametrization.base_layers=1",
                      "parametrization.alpha=0.5"}));
  EXPECT_DOUBLE_EQ(config.model.residual_multiplier, std::sqrt(0.5));
  const ParamTable table = make_parametrized_table(config);
  EXPECT_DOUBLE_EQ(tensor(table, "blocks.0.attention.out.weight").init_std, 0.01);
  EXPECT_DOUBLE_EQ(tensor(table, "blocks.0.attention.q.weight").init_std, 0.01);
}

// Neox's initializer already divides by the width: muP takes its value at the base width.
TEST(ParametrizedModel, AnInitializerThatFollowsTheWidthIsNotAppliedTwice) {
  const RunConfig config = load(tiny_with({"parametrization.kind=mup", "model.initializer=neox"}));
  const ParamTable table = make_parametrized_table(config);
  EXPECT_DOUBLE_EQ(tensor(table, "blocks.0.attention.q.weight").init_std, std::sqrt(0.4 / 16));
  EXPECT_DOUBLE_EQ(tensor(table, "embedding.weight").init_std, std::sqrt(0.4 / 4));
}

TEST(ParametrizedModel, ResolvingTwiceChangesNothing) {
  const RunConfig once = load(tiny_with({"parametrization.kind=mup"}));
  EXPECT_TRUE(compare_configs(once, resolved(once)).empty());
  Origins origins;
  const RunConfig read = resolved(parse_config(config_to_toml(once, {}), "stored", {}, origins));
  EXPECT_TRUE(compare_configs(once, read).empty());
}

TEST(ParametrizedModel, RefusesWhatContradictsTheRules) {
  EXPECT_NE(complaint({"parametrization.kind=mup"}).find("needs parametrization.base_d_model"),
            std::string::npos);
  EXPECT_NE(complaint({"parametrization.kind=completep", "parametrization.base_d_model=64"})
                .find("needs parametrization.base_layers"),
            std::string::npos);
  EXPECT_NE(complaint({"parametrization.kind=mup", "parametrization.base_d_model=64",
                       "model.output_multiplier=3"})
                .find("set parametrization.output_multiplier"),
            std::string::npos);
  EXPECT_NE(complaint({"parametrization.output_multiplier=3"}).find("under sp"), std::string::npos);
}

/// Losses of a model whose tensors were made `theta` times smaller and their multipliers larger.
std::vector<double> losses(RunConfig config, double output_theta, double embedding_theta) {
  ParamTable table = make_parametrized_table(config);
  const auto change = [&table](const std::string& name, double theta, double& multiplier) {
    ParamSpec& spec = table[static_cast<size_t>(find_param(table, name))];
    const ParamRule rule = reparametrized({}, theta);
    multiplier *= rule.multiplier;
    spec.init_std *= std::sqrt(rule.variance);
    spec.lr_scale *= rule.rate;
    spec.eps_scale *= rule.epsilon;
    spec.decay_scale *= rule.decay;
  };
  change("head.weight", output_theta, config.model.output_multiplier);
  change("embedding.weight", embedding_theta, config.model.embedding_multiplier);
  ReferenceBackend<double> backend;
  TrainStep step(config, {.slots = 1, .micro_batches = 1, .micro_batch = 2, .context = 12}, table,
                 backend);
  initialize_parameters(table, 5, step.parameters);
  step.refresh_weights();
  std::vector<double> result;
  for (int64_t i = 0; i < 20; ++i)
    result.push_back(step.run(i, 3e-2,
                              [](uint64_t sequence, std::span<int32_t> window) {
                                for (size_t j = 0; j < window.size(); ++j)
                                  window[j] = static_cast<int32_t>(philox(3, sequence, j)[0] % 7);
                              })
                         .loss);
  return result;
}

// Tables 3, 8 and 9 of Yang et al. 2022 are one training (lemma J.1), epsilon scaled with the
// gradient or 0; clipping is off, since the gradients' sizes do differ. Double precision: 20 steps
// of rounding stay far below 1e-9.
TEST(ParametrizedModel, TheThreeFormsOfMupTrainAlike) {
  for (const char* epsilon : {"optimizer.eps=0", "optimizer.eps=1e-3"}) {
    SCOPED_TRACE(epsilon);
    const RunConfig config =
        load(tiny_with({"parametrization.kind=mup", "optimizer.clip=0", epsilon}));
    const double m = 4;
    const std::vector<double> table8 = losses(config, 1, 1);
    const std::vector<double> table3 = losses(config, m, 1);
    const std::vector<double> table9 = losses(config, std::sqrt(m), std::sqrt(m));
    EXPECT_LT(table8.back(), table8.front() - 0.5);  // it does learn
    for (size_t i = 0; i < table8.size(); ++i) {
      EXPECT_NEAR(table3[i], table8[i], 1e-9) << i;
      EXPECT_NEAR(table9[i], table8[i], 1e-9) << i;
    }
  }
}

}  // namespace
}  // namespace isoflop
