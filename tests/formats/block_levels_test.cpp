// Levels times scales plus minima are the values that the type's own dequantizer gives.
#include "formats/block_levels.hpp"

#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace isoflop {
namespace {

class BlockLevelsOf : public testing::TestWithParam<BlockType> {};

/// Any bytes are a valid block once its F16 numbers are finite: an exponent below 31.
std::vector<std::byte> random_blocks(const BlockCodec& codec, int64_t count) {
  std::vector<std::byte> bytes(static_cast<size_t>(codec.bytes_for(count)));
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(philox(11, 1, i)[0] & 0xff);
  const auto make_finite = [&](size_t at) { bytes[at + 1] &= std::byte{0xbf}; };
  for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(codec.block_bytes)) {
    if (codec.type == BlockType::q6_k) {
      make_finite(at + 208);
      continue;
    }
    make_finite(at);
    make_finite(at + 2);  // a minimum, or two bytes of levels
  }
  return bytes;
}

TEST_P(BlockLevelsOf, AreTheDequantizedValues) {
  constexpr int64_t kCount = 1024;
  const BlockCodec& codec = block_codec(GetParam());
  const BlockLevels& form = *find_block_levels(GetParam());
  const std::vector<std::byte> blocks = random_blocks(codec, kCount);
  std::vector<float> values(kCount), scales(kCount / kLevelBlock), minima(kCount / kLevelBlock);
  std::vector<int16_t> levels(kCount);
  codec.dequantize(blocks.data(), kCount, values.data());
  form.unpack(blocks.data(), kCount, levels.data(), scales.data(), minima.data());
  bool any_minimum = false;
  for (int64_t i = 0; i < kCount; ++i) {
    const auto at = static_cast<size_t>(i), block = static_cast<size_t>(i / kLevelBlock);
    const double product = static_cast<double>(scales[block]) * levels[at];
    any_minimum = any_minimum || minima[block] != 0;
    // The dequantizer rounds the scale of a sub-block, the product and the sum to fp32.
    EXPECT_NEAR(values[at], product + minima[block],
                3e-7 * (std::fabs(product) + std::fabs(minima[block])))
        << i;
  }
  EXPECT_EQ(any_minimum, form.has_minima);
}

INSTANTIATE_TEST_SUITE_P(Types,
                         BlockLevelsOf,
                         testing::Values(BlockType::q8_0,
                                         BlockType::q4_0,
                                         BlockType::q5_0,
                                         BlockType::q4_1,
                                         BlockType::q5_1,
                                         BlockType::q4_k,
                                         BlockType::q5_k,
                                         BlockType::q6_k),
                         [](const auto& test) {
                           return std::string(block_codec(test.param).name);
                         });

TEST(BlockLevels, TypesWithoutSuchAFormHaveNone) {
  for (const BlockType type : {BlockType::f32, BlockType::f16, BlockType::bf16, BlockType::iq4_nl,
                               BlockType::mxfp4, BlockType::q2_k})
    EXPECT_EQ(find_block_levels(type), nullptr);
}

}  // namespace
}  // namespace isoflop
