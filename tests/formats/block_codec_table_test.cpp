// Blocks of table values, element by element from their definition.
#include "core/rng.hpp"
#include "formats/block_codec.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace isoflop {
namespace {

std::vector<uint8_t> random_bytes(size_t count, uint64_t seed) {
  std::vector<uint8_t> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<uint8_t>(philox(seed, 0, i)[0]);
  return bytes;
}

std::vector<float> read(BlockType type, const std::vector<uint8_t>& bytes) {
  const BlockCodec& codec = block_codec(type);
  const auto count = static_cast<int64_t>(bytes.size()) / codec.block_bytes * codec.block_elements;
  std::vector<float> values(static_cast<size_t>(count));
  codec.dequantize(reinterpret_cast<const std::byte*>(bytes.data()), count, values.data());
  return values;
}

/// Sign, two bits of exponent with bias 1, one of mantissa.
double e2m1(int code) {
  const int exponent = code >> 1 & 3, mantissa = code & 1;
  const double size =
      exponent == 0 ? mantissa * 0.5 : (1 + mantissa * 0.5) * std::exp2(exponent - 1);
  return code & 8 ? -size : size;
}

TEST(BlockCodecTable, Mxfp4IsAPowerOfTwoTimesE2m1) {
  const auto bytes = random_bytes(17 * 50, 1);
  const auto values = read(BlockType::mxfp4, bytes);
  for (size_t block = 0; block < 50; ++block)
    for (size_t j = 0; j < 32; ++j) {
      const uint8_t* at = &bytes[block * 17];
      const int code = j < 16 ? at[1 + j] & 15 : at[1 + j - 16] >> 4;
      const double want = e2m1(code) * std::exp2(at[0] - 127.0);
      EXPECT_EQ(values[block * 32 + j], static_cast<float>(want)) << block << " " << j;
    }
}

TEST(BlockCodecTable, Nvfp4HasAnE4m3ScaleForSixteen) {
  const auto bytes = random_bytes(36 * 50, 2);
  const auto values = read(BlockType::nvfp4, bytes);
  for (size_t block = 0; block < 50; ++block)
    for (size_t i = 0; i < 64; ++i) {
      const uint8_t* at = &bytes[block * 36];
      const size_t sub = i / 16, j = i % 16;
      const int scale = at[sub] & 127, exponent = scale >> 3, mantissa = scale & 7;
      const double size = scale == 127    ? 0
                          : exponent == 0 ? mantissa / 512.0
                                          : (1 + mantissa / 8.0) * std::exp2(exponent - 7);
      const uint8_t pair = at[4 + sub * 8 + j % 8];
      const double want = e2m1(j < 8 ? pair & 15 : pair >> 4) * size;
      EXPECT_EQ(values[block * 64 + i], static_cast<float>(want)) << block << " " << i;
    }
}

TEST(BlockCodecTable, Iq4XsIsIq4NlWithSixBitScales) {
  const auto nibbles = random_bytes(128, 3);
  std::vector<uint8_t> block(136), plain(18 * 8);
  block[1] = 0x3c;  // d = 1 in F16
  const int scales[8] = {0, 1, 17, 31, 32, 33, 48, 63};
  uint16_t tops = 0;
  for (int b = 0; b < 8; ++b) {
    tops = static_cast<uint16_t>(tops | (scales[b] >> 4) << (2 * b));
    block[static_cast<size_t>(4 + b / 2)] = static_cast<uint8_t>(
        block[static_cast<size_t>(4 + b / 2)] | (scales[b] & 15) << (b % 2 * 4));
  }
  std::memcpy(&block[2], &tops, 2);
  std::memcpy(&block[8], nibbles.data(), 128);
  for (size_t b = 0; b < 8; ++b) {
    plain[18 * b + 1] = 0x3c;
    std::memcpy(&plain[18 * b + 2], &nibbles[16 * b], 16);
  }
  const auto values = read(BlockType::iq4_xs, block), curve = read(BlockType::iq4_nl, plain);
  for (size_t i = 0; i < 256; ++i)
    EXPECT_EQ(values[i], static_cast<float>(scales[i / 32] - 32) * curve[i]) << i;
}

TEST(BlockCodecTable, TheCurveHasTheReferencesLevels) {
  const int levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  std::vector<uint8_t> block(18);
  block[1] = 0x3c;
  for (size_t j = 0; j < 16; ++j) block[2 + j] = static_cast<uint8_t>(j | (15 - j) << 4);
  const auto values = read(BlockType::iq4_nl, block);
  for (size_t j = 0; j < 16; ++j) {
    EXPECT_EQ(values[j], levels[j]);
    EXPECT_EQ(values[16 + j], levels[15 - j]);
  }
}

}  // namespace
}  // namespace isoflop
