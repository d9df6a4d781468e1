// Blocks whose levels are entries of a table of 16 values instead of evenly spaced; nibbles as in
// block_codec_32.cpp, but within 16 values in NVFP4.
//
//   IQ4_NL: d, nibbles[16]                                  d * T[q]
//   IQ4_XS: d, u16 top pairs, low nibbles[4], nibbles[128]  sub-block b of 32: d * (s_b - 32) *
//   T[q] MXFP4:  u8 e, nibbles[16]                               2^(e - 127) * E2M1[q] NVFP4: UE4M3
//   scale[4], nibbles[32]                     sub-block b of 16: scale_b * E2M1[q]
#include "formats/block_codec_rows.hpp"

#include <cmath>

namespace isoflop::blocks {

namespace {

constexpr float kCurve[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                              1,    13,   25,  38,  53,  69,  89,  113};
/// One sign, two exponent and one mantissa bit.
constexpr float kE2M1[16] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

/// `count` values from count / 2 bytes: the low halves first, then the high ones.
void look_up(
    const std::byte* nibbles, int count, const float (&table)[16], float scale, float* values) {
  for (int j = 0; j < count / 2; ++j) {
    values[j] = scale * table[static_cast<int>(nibbles[j] & std::byte{15})];
    values[j + count / 2] = scale * table[static_cast<int>(nibbles[j] >> 4)];
  }
}

/// Four exponent and three mantissa bits without a sign; the top bit is not read, the code that is
/// no number counts as 0.
float from_ue4m3(std::byte byte) {
  const int code = static_cast<int>(byte) & 127, exponent = code >> 3, mantissa = code & 7;
  if (code == 127) return 0;
  return exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                       : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
}

}  // namespace

void dequantize_iq4_nl(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= 32, values += 32, blocks += 18)
    look_up(blocks + 2, 32, kCurve, load_f16(blocks), values);
}

void dequantize_iq4_xs(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= 256, values += 256, blocks += 136) {
    const float d = load_f16(blocks);
    uint16_t tops;
    std::memcpy(&tops, blocks + 2, sizeof(tops));
    for (int b = 0; b < 8; ++b) {
      const int low = static_cast<int>(blocks[4 + b / 2]) >> (b % 2 * 4) & 15;
      const int scale = (low | (tops >> (2 * b) & 3) << 4) - 32;
      look_up(blocks + 8 + 16 * b, 32, kCurve, d * static_cast<float>(scale), values + 32 * b);
    }
  }
}

void dequantize_mxfp4(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= 32, values += 32, blocks += 17)
    look_up(blocks + 1, 32, kE2M1, std::ldexp(1.0f, static_cast<int>(blocks[0]) - 127), values);
}

void dequantize_nvfp4(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= 64, values += 64, blocks += 36)
    for (int b = 0; b < 4; ++b)
      look_up(blocks + 4 + 8 * b, 16, kE2M1, from_ue4m3(blocks[b]), values + 16 * b);
}

}  // namespace isoflop::blocks
