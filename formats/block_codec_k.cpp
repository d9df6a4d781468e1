// Super-blocks of 256 values whose sub-blocks have quantized scales of their own.
//
//   Q4_K: d, dmin, scales[12], nibbles[128]                 sub-block b of 32: (d*S_b)*q - dmin*M_b
//   Q5_K: d, dmin, scales[12], fifth bits[32], nibbles[128] as Q4_K
//   Q6_K: low nibbles[128], top pairs[64], i8 scales[16], d sub-block b of 16: d*S_b*(q - 32)
#include "formats/block_codec_rows.hpp"

namespace isoflop::blocks {

namespace {

constexpr int kSuper = 256;
constexpr int kSub = 32;

int byte_at(const std::byte* in, int i) {
  return static_cast<int>(in[i]);
}

struct SubScale {
  float scale;
  float minimum;
};

/// S_b and M_b are 6 bits each, in 12 bytes: the first four of each whole in the low bits of bytes
/// 0..7, the last four split into nibbles (bytes 8..11) and the top pairs of bytes 0..7.
SubScale sub_scale(const std::byte* packed, int b, float d, float d_minimum) {
  int scale, minimum;
  if (b < 4) {
    scale = byte_at(packed, b) & 63;
    minimum = byte_at(packed, b + 4) & 63;
  } else {
    scale = (byte_at(packed, b + 4) & 15) | byte_at(packed, b - 4) >> 6 << 4;
    minimum = byte_at(packed, b + 4) >> 4 | byte_at(packed, b) >> 6 << 4;
  }
  return {d * static_cast<float>(scale), d_minimum * static_cast<float>(minimum)};
}

/// Sub-blocks 2g and 2g+1 are the low and high nibbles of the 32 bytes of group g; `fifth`, if any,
/// has sub-block b's bits in bit b of its 32 bytes.
void dequantize_super(const std::byte* block,
                      const std::byte* fifth,
                      const std::byte* nibbles,
                      float* values) {
  const float d = load_f16(block);
  const float d_minimum = load_f16(block + 2);
  for (int b = 0; b < kSuper / kSub; ++b) {
    const SubScale sub = sub_scale(block + 4, b, d, d_minimum);
    const std::byte* group = nibbles + b / 2 * kSub;
    for (int l = 0; l < kSub; ++l) {
      int q = byte_at(group, l) >> (b % 2 * 4) & 15;
      if (fifth) q |= (byte_at(fifth, l) >> b & 1) << 4;
      values[b * kSub + l] = sub.scale * static_cast<float>(q) - sub.minimum;
    }
  }
}

}  // namespace

void dequantize_q4_k(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= kSuper, values += kSuper, blocks += 144)
    dequantize_super(blocks, nullptr, blocks + 16, values);
}

void dequantize_q5_k(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= kSuper, values += kSuper, blocks += 176)
    dequantize_super(blocks, blocks + 16, blocks + 48, values);
}

void dequantize_q6_k(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= kSuper, values += kSuper, blocks += 210) {
    const float d = load_f16(blocks + 208);
    for (int i = 0; i < kSuper; ++i) {
      const int half = i / 128, e = i % 128;  // each half of 128 packs by itself
      const int low = byte_at(blocks, 64 * half + e % 64) >> (e / 64 * 4) & 15;
      const int top = byte_at(blocks, 128 + 32 * half + e % 32) >> (e / 32 * 2) & 3;
      const int scale = static_cast<int8_t>(blocks[192 + i / 16]);
      values[i] = d * static_cast<float>(scale) * static_cast<float>((low | top << 4) - 32);
    }
  }
}

}  // namespace isoflop::blocks
