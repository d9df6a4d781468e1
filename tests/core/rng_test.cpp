#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace isoflop {
namespace {

using Words = std::array<uint32_t, 4>;

// Known answers of Philox4x32-10 as its authors publish them (Random123, kat_vectors): counter
// words 0..3 are `counter` then `stream`, low half first; key words are `seed`, low half first.
TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr uint64_t kOnes = ~uint64_t{0};
  EXPECT_EQ(philox(kOnes, kOnes, kOnes), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // Counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 (digits of pi).
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, EveryArgumentBitMatters) {
  std::set<Words> seen = {philox(0, 0, 0)};
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t x = uint64_t{1} << bit;
    EXPECT_TRUE(seen.insert(philox(x, 0, 0)).second) << "seed bit " << bit;
    EXPECT_TRUE(seen.insert(philox(0, x, 0)).second) << "stream bit " << bit;
    EXPECT_TRUE(seen.insert(philox(0, 0, x)).second) << "counter bit " << bit;
  }
}

TEST(RngStream, UsesNeverShareNumbers) {
  EXPECT_NE(rng_stream(RngUse::init, 7), rng_stream(RngUse::data_order, 7));
  EXPECT_NE(rng_stream(RngUse::init, 7), rng_stream(RngUse::init, 8));
}

// Fixed seeds: these figures never change. The bounds are five standard errors.
TEST(Uniform01, HasTheMomentsOfAUniform) {
  constexpr int n = 100'000;
  double sum = 0, square = 0, least = 1, most = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const double u = uniform01(3, 4, i);
    sum += u;
    square += u * u;
    least = std::min(least, u);
    most = std::max(most, u);
  }
  EXPECT_GE(least, 0);
  EXPECT_LT(most, 1);
  EXPECT_NEAR(sum / n, 0.5, 5 * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(square / n, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / n));
}

TEST(Normal01, HasTheMomentsOfANormal) {
  constexpr int n = 200'000;
  double moment[5] = {}, beyond_two = 0;
  for (uint64_t i = 0; i < n; ++i) {
    const double z = normal01(5, 6, i);
    ASSERT_TRUE(std::isfinite(z));
    double power = 1;
    for (double& m : moment) {
      m += power / n;
      power *= z;
    }
    if (std::abs(z) > 2) beyond_two += 1.0 / n;
  }
  const double error = 5 / std::sqrt(static_cast<double>(n));
  EXPECT_NEAR(moment[1], 0, error);
  EXPECT_NEAR(moment[2], 1, error * std::sqrt(2.0));
  EXPECT_NEAR(moment[3], 0, error * std::sqrt(15.0));
  EXPECT_NEAR(moment[4], 3, error * std::sqrt(96.0));
  EXPECT_NEAR(beyond_two, 0.0455, error * std::sqrt(0.0455));
}

TEST(Permute, IsABijection) {
  for (uint64_t size = 1; size <= 2000; ++size) {
    std::vector<bool> hit(size, false);
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t image = permute(i, size, 11, size);
      ASSERT_LT(image, size);
      ASSERT_FALSE(hit[image]) << "size " << size << ": " << image << " twice";
      hit[image] = true;
    }
  }
}

TEST(Permute, StaysInsideHugeSizes) {
  for (const uint64_t size : {(uint64_t{1} << 32) + 1, uint64_t{1} << 63, ~uint64_t{0}})
    for (uint64_t i = 0; i < 1000; ++i) ASSERT_LT(permute(size - 1 - i, size, 1, 2), size);
}

TEST(Permute, DependsOnSeedAndStreamAndMixes) {
  constexpr uint64_t size = 1000;
  int same_seed = 0, same_stream = 0, fixed = 0, neighbours = 0;
  for (uint64_t i = 0; i < size; ++i) {
    const uint64_t image = permute(i, size, 1, 1);
    same_seed += image == permute(i, size, 2, 1);
    same_stream += image == permute(i, size, 1, 2);
    fixed += image == i;
    neighbours += permute((i + 1) % size, size, 1, 1) == image + 1;
  }
  // Each count is about Poisson(1) for a random permutation; 10 or more has probability 1e-7.
  EXPECT_LT(same_seed, 10);
  EXPECT_LT(same_stream, 10);
  EXPECT_LT(fixed, 10);
  EXPECT_LT(neighbours, 10);
}

}  // namespace
}  // namespace isoflop
