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
                   double rate = 4e-3,
                   bool muon_alone = false) {
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
                     std::string("optimizer.kind=") + (muon_alone ? "muon" : "adamw"),
                     "parametrization.kind=" + kind, "parametrization.base_d_model=64"},
                    origins));
    ParamTable table = make_parametrized_table(config);
    if (mistake) mistake(config, table);
    // With nothing but Muon in motion there is little noise, and much to compute.
    for (uint64_t seed = 1; seed <= (muon_alone ? 2u : 3u); ++seed) {
      const std::vector<CoordRow> more = run_coordinates({.config = config,
                                                          .table = table,
                                                          .batch = batch_plan(config),
                                                          .source = write_tokens,
                                                          .seed = seed,
                                                          .steps = 8,
                                                          .size = static_cast<double>(width),
                                                          .muon_alone = muon_alone},
                                                         *backend);
      rows.insert(rows.end(), more.begin(), more.end());
    }
  }
  CoordVerdict verdict = judge(rows, {CoordDimension::width, kind, heads > 0, muon_alone});
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

/// Changes the rate of every matrix that Muon updates, given its rule of 1/sqrt(m).
CoordVerdict check_muon(const char* arch, const std::function<double(double)>& wrong = {}) {
  return check(
      arch, "mup",
      [&wrong](RunConfig&, ParamTable& table) {
        for (ParamSpec& spec : table)
          if (wrong && spec.update == Update::muon) spec.lr_scale = wrong(spec.lr_scale);
      },
      0, 4e-3, true);
}

TEST_P(CoordRunOf, MuonPassesUnderItsOwnRule) {
  const CoordVerdict verdict = check_muon(GetParam());
  EXPECT_TRUE(verdict.pass) << verdict.finding << ": " << verdict.cause;
}

TEST_P(CoordRunOf, FindsAMuonRateThatIsNotScaled) {
  const CoordVerdict verdict = check_muon(GetParam(), [](double) { return 1; });
  expect_cause(verdict, "does not fall as 1/sqrt(width)");
  EXPECT_NE(verdict.fix.find("rate x sqrt(base_d_model / d_model)"), std::string::npos);
}

TEST_P(CoordRunOf, FindsAMuonRateThatIsScaledAsAdamWs) {
  expect_cause(check_muon(GetParam(), [](double rate) { return rate * rate; }),
               "falls faster than 1/sqrt(width)");
}

TEST_P(CoordRunOf, HeadsThatGrowPassUnderTheRightScale) {
  const CoordVerdict verdict = check(GetParam(), "mup", {}, 2);
  EXPECT_TRUE(verdict.pass) << verdict.finding << ": " << verdict.cause;
}

}  // namespace
}  // namespace isoflop
