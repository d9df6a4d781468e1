// Super-blocks of 256 values whose sub-blocks have quantized scales of their own.
//
//   Q4_K: d, dmin, scales[12], nibbles[128]                 sub-block b of 32: (d*S_b)*q - dmin*M_b
//   Q5_K: d, dmin, scales[12], fifth bits[32], nibbles[128] as Q4_K
//   Q6_K: low nibbles[128], top pairs[64], i8 scales[16], d sub-block b of 16: d*S_b*(q - 32)
//
// Quantizers fit each sub-block by itself, quantize its scale (and minimum), and choose the levels
// again from what was stored. The dequantizers' masks say how the 6-bit numbers lie.
#include "formats/block_codec_rows.hpp"
#include "formats/block_search.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop::blocks {

namespace {

constexpr int kSuper = 256;
constexpr int kSub = 32;
constexpr int kSubs = kSuper / kSub;
constexpr int64_t kBatch = 2;       // super-blocks searched at once: the widest vector's lanes
constexpr float kNothing = 1e-15f;  // scales below count as none

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
  for (int b = 0; b < kSubs; ++b) {
    const SubScale sub = sub_scale(block + 4, b, d, d_minimum);
    const std::byte* group = nibbles + b / 2 * kSub;
    for (int l = 0; l < kSub; ++l) {
      int q = byte_at(group, l) >> (b % 2 * 4) & 15;
      if (fifth) q |= (byte_at(fifth, l) >> b & 1) << 4;
      values[b * kSub + l] = sub.scale * static_cast<float>(q) - sub.minimum;
    }
  }
}

// --- Q4_K and Q5_K

/// Whole numbers 0..63 for a super-block's scales or lows, and what one of them stands for.
struct SixBits {
  uint8_t numbers[kSubs];
  float unit;
};

SixBits round_to_six_bits(const float* values) {
  SixBits result;
  float largest = 0;
  for (int b = 0; b < kSubs; ++b) largest = std::max(largest, values[b]);
  const float inverse = largest > 0 ? 63.0f / largest : 0.0f;
  for (int b = 0; b < kSubs; ++b)
    result.numbers[b] =
        std::min<uint8_t>(63, static_cast<uint8_t>(nearest_level(inverse * values[b])));
  result.unit = largest / 63.0f;
  return result;
}

/// The same with the weighted squared error as small as nine inverse units, and after them up to
/// five rounds over the numbers, make it.
SixBits fit_six_bits(const float* values, const float* weights) {
  SixBits result{};
  float largest = 0;
  for (int b = 0; b < kSubs; ++b) largest = std::max(largest, values[b]);
  if (largest < kNothing) return result;
  const auto level = [&](float inverse, int b) {
    return static_cast<float>(std::min(63, nearest_level(inverse * values[b])));
  };
  const auto error_of = [&](float inverse) {
    const float unit = 1 / inverse;
    float error = 0;
    for (int b = 0; b < kSubs; ++b) {
      const float difference = values[b] - unit * level(inverse, b);
      error += weights[b] * difference * difference;
    }
    return error;
  };
  float inverse = 63.0f / largest, error = error_of(inverse);
  for (int step = -4; step <= 4; ++step) {
    if (step == 0) continue;
    const float tried = (0.1f * static_cast<float>(step) + 63.0f) / largest;
    const float tried_error = error_of(tried);
    if (!(tried_error < error)) continue;
    error = tried_error;
    inverse = tried;
  }

  float numbers[kSubs], sum_xl = 0, sum_l2 = 0;
  for (int b = 0; b < kSubs; ++b) {
    numbers[b] = level(inverse, b);
    sum_xl += weights[b] * values[b] * numbers[b];
    sum_l2 += weights[b] * numbers[b] * numbers[b];
  }
  bool changed = true;
  for (int round = 0; round < 5 && changed; ++round) {
    changed = false;
    for (int b = 0; b < kSubs; ++b) {
      const float w = weights[b], x = values[b];
      float rest_xl = sum_xl - w * x * numbers[b];
      float rest_l2 = sum_l2 - w * numbers[b] * numbers[b];
      if (!(rest_xl > 0 && rest_l2 > 0)) continue;
      const auto number = static_cast<float>(std::min(63, nearest_level(x * rest_l2 / rest_xl)));
      if (number == numbers[b]) continue;
      rest_xl += w * x * number;
      rest_l2 += w * number * number;
      if (!(rest_xl * rest_xl * sum_l2 > sum_xl * sum_xl * rest_l2)) continue;
      numbers[b] = number;
      sum_xl = rest_xl;
      sum_l2 = rest_l2;
      changed = true;
    }
  }
  for (int b = 0; b < kSubs; ++b)
    result.numbers[b] = static_cast<uint8_t>(static_cast<int>(numbers[b]));
  result.unit = sum_l2 > 0 ? sum_xl / sum_l2 : 0.0f;
  return result;
}

/// The inverse of sub_scale.
void pack_six_bits(const uint8_t* scales, const uint8_t* lows, std::byte* packed) {
  for (int b = 0; b < 4; ++b) {
    const int scale = scales[b + 4], low = lows[b + 4];
    packed[b] = static_cast<std::byte>(scales[b] | scale >> 4 << 6);
    packed[b + 4] = static_cast<std::byte>(lows[b] | low >> 4 << 6);
    packed[b + 8] = static_cast<std::byte>((scale & 15) | (low & 15) << 4);
  }
}

/// The levels nearest to x under what the block says; those of the search stay where its scale has
/// come to nothing.
void choose_levels(const float* x, const std::byte* block, int top, uint8_t* levels) {
  const float d = load_f16(block), d_minimum = load_f16(block + 2);
  for (int b = 0; b < kSubs; ++b) {
    const SubScale sub = sub_scale(block + 4, b, d, d_minimum);
    if (sub.scale == 0) continue;
    for (int l = 0; l < kSub; ++l)
      levels[b * kSub + l] = static_cast<uint8_t>(
          std::clamp(nearest_level((x[b * kSub + l] + sub.minimum) / sub.scale), 0, top));
  }
}

/// Low nibbles and, where there are any, fifth bits.
void pack_levels(const uint8_t* levels, std::byte* fifth, std::byte* nibbles) {
  for (int g = 0; g < kSubs / 2; ++g)
    for (int l = 0; l < kSub; ++l)
      nibbles[g * kSub + l] = static_cast<std::byte>((levels[2 * g * kSub + l] & 15) |
                                                     (levels[(2 * g + 1) * kSub + l] & 15) << 4);
  if (!fifth) return;
  for (int l = 0; l < kSub; ++l) {
    int bits = 0;
    for (int b = 0; b < kSubs; ++b) bits |= levels[b * kSub + l] >> 4 << b;
    fifth[l] = static_cast<std::byte>(bits);
  }
}

float sum_of_squares(const float* x, int count) {
  float squares = 0;
  for (int i = 0; i < count; ++i) squares += x[i] * x[i];
  return squares;
}

/// Weights without an importance matrix: a sub-block's root mean square plus the value's magnitude.
void weigh_sub_block(const float* x, float* w) {
  const float typical = std::sqrt(sum_of_squares(x, kSub) / kSub);
  for (int l = 0; l < kSub; ++l) w[l] = typical + std::fabs(x[l]);
}

void quantize_min_supers(const float* values,
                         int64_t count,
                         const float* importance,  // or null
                         const IntervalSearch& search,
                         int64_t block_bytes,
                         std::byte* blocks) {
  float weights[kBatch * kSuper], scales[kBatch * kSubs], lows[kBatch * kSubs];
  uint8_t levels[kBatch * kSuper];
  const bool fifth = search.top > 15;
  for (int64_t first = 0; first < count; first += kBatch * kSuper) {
    const float* x = values + first;
    const int64_t supers = std::min(kBatch, (count - first) / kSuper);
    for (int64_t s = 0; s < supers; ++s) {
      const float* super = x + s * kSuper;
      if (importance)
        weigh(super, importance + first + s * kSuper, 2 * sum_of_squares(super, kSuper) / kSuper,
              kSuper, weights + s * kSuper);
      else
        for (int b = 0; b < kSubs; ++b)
          weigh_sub_block(super + b * kSub, weights + s * kSuper + b * kSub);
    }
    fit_intervals(x, weights, supers * kSubs, search, scales, lows, levels);
    for (int64_t s = 0; s < supers; ++s, blocks += block_bytes) {
      const float *sub_scales = scales + s * kSubs, *sub_lows = lows + s * kSubs;
      float sums[kSubs] = {};
      for (int i = 0; i < kSuper; ++i) sums[i / kSub] += weights[s * kSuper + i];
      const SixBits d = importance ? fit_six_bits(sub_scales, sums) : round_to_six_bits(sub_scales);
      const SixBits m = importance ? fit_six_bits(sub_lows, sums) : round_to_six_bits(sub_lows);
      store_f16(d.unit, blocks);
      store_f16(m.unit, blocks + 2);
      pack_six_bits(d.numbers, m.numbers, blocks + 4);
      choose_levels(x + s * kSuper, blocks, search.top, levels + s * kSuper);
      pack_levels(levels + s * kSuper, fifth ? blocks + 16 : nullptr, blocks + (fifth ? 48 : 16));
    }
  }
}

// --- Q6_K

constexpr int kSixSub = 16;
constexpr int kSixSubs = kSuper / kSixSub;

void store_six(const float* x, const float* scales, uint8_t* levels, std::byte* block) {
  float extreme = 0;
  for (int b = 0; b < kSixSubs; ++b)
    if (std::fabs(scales[b]) > std::fabs(extreme)) extreme = scales[b];
  std::fill_n(block, 210, std::byte{0});
  if (std::fabs(extreme) < kNothing) return;
  const float inverse = -128.0f / extreme;
  store_f16(1 / inverse, block + 208);
  const float d = load_f16(block + 208);
  for (int b = 0; b < kSixSubs; ++b) {
    const auto number = static_cast<int8_t>(std::min(127, nearest_level(inverse * scales[b])));
    block[192 + b] = static_cast<std::byte>(number);
    const float scale = d * static_cast<float>(number);
    if (scale == 0) continue;
    for (int l = 0; l < kSixSub; ++l)
      levels[b * kSixSub + l] =
          static_cast<uint8_t>(std::clamp(nearest_level(x[b * kSixSub + l] / scale), -32, 31) + 32);
  }
  for (int half = 0; half < 2; ++half) {
    const uint8_t* q = levels + 128 * half;
    for (int l = 0; l < 64; ++l)
      block[64 * half + l] = static_cast<std::byte>((q[l] & 15) | (q[l + 64] & 15) << 4);
    for (int l = 0; l < 32; ++l)
      block[128 + 32 * half + l] = static_cast<std::byte>(
          q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
  }
}

/// Weights are the importance alone, or the squares.
void quantize_six_supers(const float* values,
                         int64_t count,
                         const float* importance,
                         std::byte* blocks) {
  float squares[kBatch * kSuper], scales[kBatch * kSixSubs];
  uint8_t levels[kBatch * kSuper];
  for (int64_t first = 0; first < count; first += kBatch * kSuper) {
    const float* x = values + first;
    const int64_t supers = std::min(kBatch, (count - first) / kSuper);
    for (int64_t i = 0; i < supers * kSuper; ++i) squares[i] = x[i] * x[i];
    fit_symmetric(x, importance ? importance + first : squares, supers * kSixSubs, kSixSub, 32,
                  scales, levels);
    for (int64_t s = 0; s < supers; ++s, blocks += 210)
      store_six(x + s * kSuper, scales + s * kSixSubs, levels + s * kSuper, blocks);
  }
}

}  // namespace

void quantize_q4_k(const float* values, int64_t count, std::byte* blocks) {
  quantize_min_supers(values, count, nullptr, {15, -1.0f, 0.1f, 20}, 144, blocks);
}

void weighted_q4_k(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_min_supers(row, cols, importance, {15, -0.9f, 0.05f, 36}, 144, blocks);
}

void quantize_q5_k(const float* values, int64_t count, std::byte* blocks) {
  quantize_min_supers(values, count, nullptr, {31, -0.5f, 0.1f, 15}, 176, blocks);
}

void weighted_q5_k(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_min_supers(row, cols, importance, {31, -0.9f, 0.05f, 36}, 176, blocks);
}

void quantize_q6_k(const float* values, int64_t count, std::byte* blocks) {
  quantize_six_supers(values, count, nullptr, blocks);
}

void weighted_q6_k(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_six_supers(row, cols, importance, blocks);
}

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
