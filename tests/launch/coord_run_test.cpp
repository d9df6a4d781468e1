// Coordinate checks on real training: under muP nothing grows, and each way of getting it wrong is
// found and called by its name. Widths 64 to 256, two blocks, tokens that can be learned.
#include "launch/coord_run.hpp"

#include "core/rng.hpp"
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/prepare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace isoflop {
namespace {

/// A tongue of 64 words, in which one of four follows each.
void write_tokens(uint64_t sequence, std::span<int32_t> window) {
  int32_t token = static_cast<int32_t>(sequence % 64);
  for (size_t i = 0; i < window.size(); ++i) {
    window[i] = token;
    token = static_cast<int32_t>(
        (static_cast<uint64_t>(token) * 37 + 11 + philox(3, sequence, i)[0] % 4) % 64);
  }
}

/// Changes a width's config (resolved) and table into something wrong.
using Mistake = std::function<void(RunConfig&, ParamTable&)>;

CoordVerdict check(const char* arch,
                   const std::string& kind,
                   const Mistake& mistake = {},
                   int64_t heads = 0,
                   double rate = 4e-3) {
  ThreadTeam team(2);
  const std::unique_ptr<Backend> backend = make_cpu_backend(team);
  std::vector<CoordRow> rows;
  for (const int64_t width : {64, 128, 256}) {
    Origins origins;
    RunConfig config = resolved(
        load_config(std::nullopt,
                    {std::string("model.arch=") + arch, fmt::format("model.d_model={}", width),
                     fmt::format("model.heads={}", heads ? heads : width / 16), "model.layers=2",
                     "model.context=32", "model.vocabulary=64", "schedule.steps=1",
                     "schedule.batch_tokens=256", fmt::format("optimizer.lr={}", rate),
                     "parametrization.kind=" + kind, "parametrization.base_d_model=64"},
                    origins));
    ParamTable table = make_parametrized_table(config);
    if (mistake) mistake(config, table);
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const std::vector<CoordRow> more = run_coordinates({.config = config,
                                                          .table = table,
                                                          .batch = batch_plan(config),
                                                          .source = write_tokens,
                                                          .seed = seed,
                                                          .steps = 8,
                                                          .size = static_cast<double>(width)},
                                                         *backend);
      rows.insert(rows.end(), more.begin(), more.end());
    }
  }
  CoordVerdict verdict = judge(rows, {CoordDimension::width, kind, heads > 0});
  for (const CoordSlope& slope : verdict.slopes)
    fmt::print("  {} {:<17} start {:+.2f} change (to step {}) {:+.2f} late {:+.2f}\n", arch,
               name_of(slope.module), slope.start.slope, verdict.turn, slope.change.slope,
               slope.late.slope);
  return verdict;
}

class CoordRunOf : public ::testing::TestWithParam<const char*> {};
std::string name_of_arch(const ::testing::TestParamInfo<const char*>& arch) {
  return arch.param;
}
INSTANTIATE_TEST_SUITE_P(Architectures, CoordRunOf, ::testing::Values("gpt3"), name_of_arch);
INSTANTIATE_TEST_SUITE_P(SlowArchitectures,
                         CoordRunOf,
                         ::testing::Values("pythia", "llama"),
                         name_of_arch);

TEST_P(CoordRunOf, MupPasses) {
  for (const double rate : {1e-3, 4e-3}) {
    SCOPED_TRACE(rate);
    const CoordVerdict verdict = check(GetParam(), "mup", {}, 0, rate);
    EXPECT_TRUE(verdict.pass) << verdict.finding << ": " << verdict.cause;
    for (const CoordSlope& slope : verdict.slopes)
      EXPECT_NEAR(slope.start.slope, slope.module == CoordModule::logits ? -0.5 : 0, 0.12)
          << name_of(slope.module);
  }
}

TEST_P(CoordRunOf, SpFails) {
  const CoordVerdict verdict = check(GetParam(), "sp");
  EXPECT_FALSE(verdict.pass);
  for (const CoordModule module :
       {CoordModule::attention_logits, CoordModule::attention, CoordModule::mlp})
    EXPECT_GT(verdict.slopes[static_cast<size_t>(module)].late.slope, 0.5) << name_of(module);
  EXPECT_NE(verdict.cause.find("standard parametrization"), std::string::npos) << verdict.cause;
}

void expect_cause(const CoordVerdict& verdict, const std::string& words) {
  EXPECT_FALSE(verdict.pass);
  EXPECT_NE(verdict.cause.find(words), std::string::npos) << verdict.finding << verdict.cause;
}

TEST_P(CoordRunOf, FindsAHiddenRateThatIsNotScaled) {
  expect_cause(check(GetParam(), "mup",
                     [](RunConfig&, ParamTable& table) {
                       for (ParamSpec& spec : table) spec.lr_scale = 1;
                     }),
               "rate of the hidden matrices does not fall");
}

TEST_P(CoordRunOf, FindsAHiddenRateThatIsScaledTwice) {
  expect_cause(check(GetParam(), "mup",
                     [](RunConfig&, ParamTable& table) {
                       for (ParamSpec& spec : table) spec.lr_scale *= spec.lr_scale;
                     }),
               "falls faster than 1/width");
}

TEST_P(CoordRunOf, FindsAHiddenVarianceThatIsNotScaled) {
  expect_cause(check(GetParam(), "mup",
                     [](RunConfig& config, ParamTable& table) {
                       const double m = parametrization_of(config).width;
                       for (ParamSpec& spec : table)
                         if (spec.role == ParamRole::hidden) spec.init_std *= std::sqrt(m);
                     }),
               "initial variance");
}

TEST_P(CoordRunOf, FindsAMissingOutputMultiplier) {
  expect_cause(check(GetParam(), "mup",
                     [](RunConfig& config, ParamTable&) { config.model.output_multiplier = 1; }),
               "output multiplier");
}

TEST_P(CoordRunOf, FindsABaseWidthReadFromEachModel) {
  expect_cause(check(GetParam(), "mup",
                     [](RunConfig& config, ParamTable& table) {
                       config.model.output_multiplier = 1;
                       config.parametrization.base_d_model = config.model.d_model;
                       config.parametrization.base_d_ff = config.model.d_ff;
                       table = make_parametrized_table(config);
                     }),
               "base width of its own");
}

TEST_P(CoordRunOf, FindsHeadsThatGrowUnderTheUsualScale) {
  expect_cause(
      check(
          GetParam(), "mup",
          [](RunConfig& config, ParamTable&) { config.model.attention_multiplier = 1; }, 2),
      "1/sqrt(head_dim)");
}

TEST_P(CoordRunOf, HeadsThatGrowPassUnderTheRightScale) {
  const CoordVerdict verdict = check(GetParam(), "mup", {}, 2);
  EXPECT_TRUE(verdict.pass) << verdict.finding << ": " << verdict.cause;
}

}  // namespace
}  // namespace isoflop
