#include "datasets/mixture.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

const std::vector<std::vector<double>> kWeights = {
    {1},
    {0.5, 0.5},
    {0.7, 0.3},
    {1e-5, 1},
    {3, 2, 1},
    {0.01, 0.02, 0.03, 0.04, 0.9},
    {0.9, 0.04, 0.03, 0.02, 0.01},
    std::vector<double>(100, 0.01),
    {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024},
    {M_PI, M_E, M_SQRT2},
};

TEST(Mixture, EverySourceCountsUpByOne) {
  for (const auto& weights : kWeights) {
    const Mixture mixture(weights, 7);
    std::vector<uint64_t> next(weights.size(), 0);
    for (uint64_t i = 0; i < 20'000; ++i) {
      const Mixture::Draw draw = mixture.draw(i);
      ASSERT_EQ(draw.index, next[static_cast<size_t>(draw.source)]++);
    }
    for (size_t s = 0; s < weights.size(); ++s)
      EXPECT_EQ(mixture.count(static_cast<int>(s), 20'000), next[s]);
  }
}

// Any 10,000 in a row: each share within 0.05 % of the whole, a source with 1 % within 5 % of its
// own.
TEST(Mixture, SharesHoldWhereverOneLooks) {
  for (const auto& weights : kWeights) {
    for (const uint64_t seed : {1, 2, 3}) {
      const Mixture mixture(weights, seed);
      for (size_t s = 0; s < weights.size(); ++s) {
        const int source = static_cast<int>(s);
        for (uint64_t first = 0; first < 50'000; first += 37) {
          const auto drawn = static_cast<double>(mixture.count(source, first + 10'000) -
                                                 mixture.count(source, first));
          // Below two sequences at each end: a tree's errors add up to less than 1 + 1/2 + 1/4 ...
          ASSERT_NEAR(drawn, mixture.share(source) * 10'000, 4) << s << " from " << first;
        }
      }
    }
  }
}

TEST(Mixture, FarAwayAndWithoutHistory) {
  const Mixture mixture({0.7, 0.2, 0.1}, 5), again({0.7, 0.2, 0.1}, 5), other({0.7, 0.2, 0.1}, 6);
  const uint64_t far = uint64_t{1} << 50;
  int differences = 0;
  for (uint64_t i = far + 1000; i-- > far;) {
    EXPECT_EQ(mixture.draw(i).source, again.draw(i).source);
    EXPECT_EQ(mixture.draw(i).index, again.draw(i).index);
    differences += mixture.draw(i).source != other.draw(i).source;
  }
  EXPECT_GT(differences, 0);
  EXPECT_NEAR(static_cast<double>(mixture.count(1, far)), 0.2 * static_cast<double>(far),
              1e-9 * static_cast<double>(far));  // shares are held in 32 bits
}

TEST(Mixture, WeightsThatCannotBeAreRefused) {
  EXPECT_THROW(Mixture({1, 0}, 1), UserError);
  EXPECT_THROW(Mixture({1, -1}, 1), UserError);
  EXPECT_THROW(Mixture({1, NAN}, 1), UserError);
  EXPECT_THROW(Mixture({1, INFINITY}, 1), UserError);
  EXPECT_THROW(Mixture({1, 1e-7}, 1), UserError);
}

}  // namespace
}  // namespace isoflop
