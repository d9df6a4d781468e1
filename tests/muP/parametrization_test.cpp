// The table of rules, cell by cell, as published; and the lemma that takes one form to another.
#include "muP/parametrization.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace isoflop {
namespace {

ParamSpec spec_of(ParamRole role, int block, Fan fan_in = Fan::width) {
  ParamSpec spec;
  spec.role = role;
  spec.stage_block = block;
  spec.fan_in = fan_in;
  return spec;
}

struct Cell {
  const char* name;
  ParamSpec spec;
  double variance, rate, epsilon, decay;
};

void expect_table(const Parametrization& p, const std::vector<Cell>& cells) {
  for (const Cell& cell : cells) {
    SCOPED_TRACE(cell.name);
    const ParamRule rule = rule_of(p, cell.spec);
    EXPECT_DOUBLE_EQ(rule.multiplier, 1);
    EXPECT_DOUBLE_EQ(rule.variance, cell.variance);
    EXPECT_DOUBLE_EQ(rule.rate, cell.rate);
    EXPECT_DOUBLE_EQ(rule.epsilon, cell.epsilon);
    EXPECT_DOUBLE_EQ(rule.decay, cell.decay);
  }
}

const ParamSpec kEmbedding = spec_of(ParamRole::embedding, -1);
const ParamSpec kHidden = spec_of(ParamRole::hidden, 3);
const ParamSpec kDown = spec_of(ParamRole::hidden, 3, Fan::feed_forward);
const ParamSpec kGain = spec_of(ParamRole::vector, 3);
const ParamSpec kLastNorm = spec_of(ParamRole::vector, 8);
const ParamSpec kHead = spec_of(ParamRole::output, 8);

Parametrization grown(ParametrizationKind kind) {
  return {.kind = kind, .width = 4, .feed_forward = 5, .depth = 2, .alpha = 1, .layers = 8};
}

TEST(Parametrization, SpDependsOnNothing) {
  for (const ParamSpec& spec : {kEmbedding, kHidden, kDown, kGain, kLastNorm, kHead})
    expect_table(grown(ParametrizationKind::sp), {{"sp", spec, 1, 1, 1, 1}});
}

// Yang et al. 2022, table 8, columns for Adam; the feed-forward fan-in has its own ratio.
TEST(Parametrization, MupIsTable8) {
  expect_table(grown(ParametrizationKind::mup), {{"embedding", kEmbedding, 1, 1, 1. / 4, 1},
                                                 {"hidden", kHidden, 1. / 4, 1. / 4, 1. / 4, 4},
                                                 {"down", kDown, 1. / 5, 1. / 5, 1. / 4, 5},
                                                 {"gain", kGain, 1, 1, 1. / 4, 1},
                                                 {"last norm", kLastNorm, 1, 1, 1. / 4, 1},
                                                 {"head", kHead, 1, 1, 1. / 4, 1}});
}

// Dey et al. 2025, table 1. With alpha = 1 no rate depends on the depth.
TEST(Parametrization, CompletePAddsTheDepth) {
  Parametrization p = grown(ParametrizationKind::completep);
  expect_table(p, {{"embedding", kEmbedding, 1, 1, 1. / 4, 1},
                   {"hidden", kHidden, 1. / 4, 1. / 4, 1. / 8, 4},
                   {"gain", kGain, 1, 1, 1. / 8, 1},
                   {"last norm", kLastNorm, 1, 1, 1. / 4, 1}});
  p.alpha = 0.5;
  const double root = std::sqrt(0.5);
  expect_table(p, {{"hidden", kHidden, 1. / 4, root / 4, root / 4, 4},
                   {"gain", kGain, 1, root, root / 4, 1},
                   {"head", kHead, 1, 1, 1. / 4, 1}});
}

// By the width alone all of Muon's rates fall as 1/sqrt(m). Where the feed-forward part grows by
// another factor, up and down are cut to different shapes: 16 x 4 is (base) 3.2 x 1 here.
TEST(Parametrization, MuonsRateFollowsTheSpectralNorm) {
  Parametrization p = grown(ParametrizationKind::mup);
  ParamSpec square = kHidden, up = kHidden, down = kDown;
  for (ParamSpec* spec : {&square, &up, &down}) spec->update = Update::muon;
  square.rows = square.cols = down.rows = up.cols = 4;
  up.rows = down.cols = 16;
  up.fan_out = Fan::feed_forward;
  expect_table(p, {{"square", square, 1. / 4, 1. / 2, 1. / 4, 2},
                   {"up", up, 1. / 4, std::sqrt(5. / 4 * 3.2 / 16), 1. / 4, 2},
                   {"down", down, 1. / 5, std::sqrt(4. / 5 * 3.2 / 16), 1. / 4, 2.5}});
  p.feed_forward = 4;
  expect_table(p,
               {{"up", up, 1. / 4, 1. / 2, 1. / 4, 2}, {"down", down, 1. / 4, 1. / 2, 1. / 4, 2}});
  EXPECT_DOUBLE_EQ(rule_of(grown(ParametrizationKind::sp), up).rate, 1);
}

TEST(Parametrization, PublishedRecipesCoupleDecayAndFixEpsilon) {
  Parametrization p = grown(ParametrizationKind::mup);
  p.independent_decay = false;
  p.scaled_epsilon = false;
  expect_table(p,
               {{"hidden", kHidden, 1. / 4, 1. / 4, 1, 1}, {"embedding", kEmbedding, 1, 1, 1, 1}});
}

TEST(Parametrization, ForwardMultipliers) {
  const ForwardMultipliers tuned{10, 2, 3, 8};
  const ForwardMultipliers sp = forward_multipliers(grown(ParametrizationKind::sp), tuned, 64);
  EXPECT_EQ(sp.attention, 8);
  const ForwardMultipliers mup = forward_multipliers(grown(ParametrizationKind::mup), tuned, 64);
  EXPECT_DOUBLE_EQ(mup.embedding, 10);
  EXPECT_DOUBLE_EQ(mup.residual, 2);
  EXPECT_DOUBLE_EQ(mup.output, 3. / 4);
  EXPECT_DOUBLE_EQ(mup.attention, 1);  // 8 / 64 = 1 / sqrt(64)
  const ForwardMultipliers deep =
      forward_multipliers(grown(ParametrizationKind::completep), tuned, 64);
  EXPECT_DOUBLE_EQ(deep.residual, 1);
}

// Table 3 has no multiplier on the output: variance 1/m^2, rate 1/m. Table 9 spreads it: variance
// 1/m, rate 1/sqrt(m).
TEST(Parametrization, TheLemmaTakesTable8ToTables3And9) {
  const double m = 4;
  const ParamRule table8{.multiplier = 1 / m, .epsilon = 1 / m};
  const ParamRule table3 = reparametrized(table8, m);
  EXPECT_DOUBLE_EQ(table3.multiplier, 1);
  EXPECT_DOUBLE_EQ(table3.variance, 1 / (m * m));
  EXPECT_DOUBLE_EQ(table3.rate, 1 / m);
  EXPECT_DOUBLE_EQ(table3.epsilon, 1);
  EXPECT_DOUBLE_EQ(table3.decay, m);
  const ParamRule table9 = reparametrized(table8, std::sqrt(m));
  EXPECT_DOUBLE_EQ(table9.multiplier, 1 / std::sqrt(m));
  EXPECT_DOUBLE_EQ(table9.variance, 1 / m);
  EXPECT_DOUBLE_EQ(table9.rate, 1 / std::sqrt(m));
}

TEST(Parametrization, UnknownKindsAreRefused) {
  EXPECT_THROW(parse_parametrization("mup2"), UserError);
}

}  // namespace
}  // namespace isoflop
