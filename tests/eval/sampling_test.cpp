// Each rule on logits small enough to do by hand, and the frequencies of the draws.
#include "eval/sampling.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>

namespace isoflop {
namespace {

View view_of(std::vector<float>& logits) {
  return make_view(logits.data(), 1, static_cast<int64_t>(logits.size()));
}

/// Logits of these probabilities.
std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<int32_t> ids_of(const Candidates& candidates) {
  std::vector<int32_t> ids;
  for (const Candidate& c : candidates) ids.push_back(c.id);
  return ids;
}

Candidates sorted_of(const std::vector<double>& probabilities) {
  std::vector<float> logits = logits_of(probabilities);
  Candidates all = candidates_of(view_of(logits));
  apply_temperature(all, 1);
  keep_top_k(all, 0);
  return all;
}

TEST(Sampling, GreedyTakesTheLikeliestAndTheFirstOfEquals) {
  std::vector<float> logits = {1, 3, 2, 3};
  EXPECT_EQ(pick_token(view_of(logits), {.temperature = 0}, 0), 1);
}

TEST(Sampling, TemperatureIsTheExponentOfProbabilityRatios) {
  std::vector<float> logits = logits_of({0.8, 0.2});
  Candidates all = candidates_of(view_of(logits));
  apply_temperature(all, 2);
  EXPECT_NEAR(all[1].p / all[0].p, std::sqrt(0.2 / 0.8), 1e-7);  // logits are fp32
}

TEST(Sampling, EachRuleKeepsWhatItsFormulaSays) {
  const std::vector<double> p = {0.1, 0.5, 0.15, 0.25};
  Candidates k = sorted_of(p);
  keep_top_k(k, 2);
  EXPECT_EQ(ids_of(k), (std::vector<int32_t>{1, 3}));
  Candidates nucleus = sorted_of(p);
  keep_top_p(nucleus, 0.7);  // 0.5 + 0.25 is the first sum of at least that
  EXPECT_EQ(ids_of(nucleus), (std::vector<int32_t>{1, 3}));
  Candidates none = sorted_of(p);
  keep_top_p(none, 0);
  EXPECT_EQ(ids_of(none), (std::vector<int32_t>{1}));
  Candidates min = sorted_of(p);
  keep_min_p(min, 0.25);  // at least 0.125
  EXPECT_EQ(ids_of(min), (std::vector<int32_t>{1, 3, 2}));
  Candidates all = sorted_of(p);
  keep_min_p(all, 1);
  EXPECT_EQ(ids_of(all), (std::vector<int32_t>{1}));
}

TEST(Sampling, APenaltyLowersEachRepeatedTokenOnce) {
  std::vector<float> logits = {2, -1, 0.5, 3};
  Candidates all = candidates_of(view_of(logits));
  const std::vector<int32_t> recent = {0, 1, 0};
  penalize_repeats(all, recent, 2);
  EXPECT_EQ(all[0].p, 1);
  EXPECT_EQ(all[1].p, -2);
  EXPECT_EQ(all[2].p, 0.5);
  EXPECT_EQ(all[3].p, 3);
}

TEST(Sampling, OnlyTheWindowIsPenalized) {
  std::vector<float> logits = {3, 2.5, 0};
  const std::vector<int32_t> before = {0, 2};
  SamplingOptions o{.temperature = 0, .repeat_penalty = 2, .repeat_window = 2};
  EXPECT_EQ(pick_token(view_of(logits), o, 0, before), 1);
  o.repeat_window = 1;  // 0 lies before it
  EXPECT_EQ(pick_token(view_of(logits), o, 0, before), 0);
  o.repeat_window = 0;
  EXPECT_EQ(pick_token(view_of(logits), o, 0, before), 0);
}

TEST(Sampling, DrawInvertsTheCumulativeDistribution) {
  const Candidates sorted = sorted_of({0.5, 0.3, 0.2});
  EXPECT_EQ(draw(sorted, 0), 0);
  EXPECT_EQ(draw(sorted, 0.49), 0);
  EXPECT_EQ(draw(sorted, 0.51), 1);
  EXPECT_EQ(draw(sorted, 0.79), 1);
  EXPECT_EQ(draw(sorted, 0.81), 2);
  EXPECT_EQ(draw(sorted, std::nextafter(1.0, 0.0)), 2);
}

TEST(Sampling, FrequenciesAreTheProbabilities) {
  const std::vector<double> p = {0.4, 0.3, 0.2, 0.1};
  std::vector<float> logits = logits_of(p);
  constexpr int kDraws = 20'000;
  std::array<int, 4> seen{};
  for (uint64_t n = 0; n < kDraws; ++n)
    ++seen[static_cast<size_t>(pick_token(view_of(logits), {.temperature = 1, .seed = 3}, n))];
  double chi2 = 0;
  for (size_t i = 0; i < p.size(); ++i)
    chi2 += std::pow(seen[i] - kDraws * p[i], 2) / (kDraws * p[i]);
  EXPECT_LT(chi2, 16.27);  // 3 degrees of freedom, one seed in a thousand; this one is fixed
}

TEST(Sampling, ADrawIsAFunctionOfSeedSequenceAndPosition) {
  std::vector<float> logits(1000, 0.0f);
  const SamplingOptions a{.seed = 5}, b{.seed = 6}, c{.seed = 5, .sequence = 1};
  const auto pick = [&](const SamplingOptions& o, uint64_t n) {
    return pick_token(view_of(logits), o, n);
  };
  EXPECT_EQ(pick(a, 7), pick(a, 7));
  EXPECT_NE(pick(a, 7), pick(a, 8));
  EXPECT_NE(pick(a, 7), pick(b, 7));
  EXPECT_NE(pick(a, 7), pick(c, 7));
}

}  // namespace
}  // namespace isoflop
