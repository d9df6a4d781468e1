// Blocks of 32 values. d and m are F16; byte j of the 16 bytes of nibbles holds value j in its low
// and value j+16 in its high half; the fifth bits, where there are any, are one u32 with value j's
// in bit j.
//
//   Q8_0: d, i8[32]               d * q
//   Q4_0: d, nibbles              d * (q - 8)
//   Q4_1: d, m, nibbles           d * q + m
//   Q5_0: d, fifth bits, nibbles  d * (q - 16)
//   Q5_1: d, m, fifth bits, nibbles
//
// Here is the way back, and the way there with importance, which searches for levels and scale; the
// plain way there is in block_codec_32_plain.cpp.
#include "formats/block_codec_rows.hpp"
#include "formats/block_search.hpp"

#include <algorithm>

namespace isoflop::blocks {

namespace {

constexpr int kBlock = 32;

void pack_nibbles(const uint8_t* q, std::byte* out) {
  for (int j = 0; j < kBlock / 2; ++j)
    out[j] = static_cast<std::byte>((q[j] & 15) | (q[j + kBlock / 2] & 15) << 4);
}

void unpack_nibbles(const std::byte* in, uint8_t* q) {
  for (int j = 0; j < kBlock / 2; ++j) {
    q[j] = static_cast<uint8_t>(in[j] & std::byte{15});
    q[j + kBlock / 2] = static_cast<uint8_t>(in[j] >> 4);
  }
}

void pack_fifth_bits(const uint8_t* q, std::byte* out) {
  uint32_t bits = 0;
  for (int j = 0; j < kBlock; ++j) bits |= uint32_t{q[j]} >> 4 << j;
  std::memcpy(out, &bits, sizeof(bits));
}

void unpack_fifth_bits(const std::byte* in, uint8_t* q) {
  uint32_t bits;
  std::memcpy(&bits, in, sizeof(bits));
  for (int j = 0; j < kBlock; ++j) q[j] = static_cast<uint8_t>(q[j] | (bits >> j & 1) << 4);
}

/// Calls store(i, scale, low, levels) for each block i of a row; blocks are searched in batches.
template <class Fit, class Store>
void quantize_by_search(
    const float* row, int64_t cols, const float* importance, Fit&& fit, Store&& store) {
  constexpr int64_t kBatch = 16;  // as many as the widest vector has lanes
  float weights[kBatch * kBlock], scales[kBatch], lows[kBatch];
  uint8_t levels[kBatch * kBlock];
  float squares = 0;
  for (int64_t i = 0; i < cols; ++i) squares += row[i] * row[i];
  const float spread = squares / static_cast<float>(cols);
  for (int64_t first = 0; first < cols / kBlock; first += kBatch) {
    const int64_t count = std::min(kBatch, cols / kBlock - first);
    const float* x = row + first * kBlock;
    weigh(x, importance + first * kBlock, spread, count * kBlock, weights);
    fit(x, weights, count, scales, lows, levels);
    for (int64_t i = 0; i < count; ++i) store(first + i, scales[i], lows[i], levels + i * kBlock);
  }
}

template <int kHalf, class Store>
void quantize_symmetric(const float* row, int64_t cols, const float* importance, Store&& store) {
  const auto fit = [](const float* x, const float* w, int64_t count, float* scales, float* lows,
                      uint8_t* levels) {
    fit_symmetric(x, w, count, kBlock, kHalf, scales, levels);
    std::fill_n(lows, count, 0.0f);
  };
  quantize_by_search(row, cols, importance, fit, store);
}

template <int kTop, class Store>
void quantize_interval(const float* row, int64_t cols, const float* importance, Store&& store) {
  const auto fit = [](const float* x, const float* w, int64_t count, float* scales, float* lows,
                      uint8_t* levels) {
    fit_intervals(x, w, count, {kTop, -0.9f, 0.05f, 36}, scales, lows, levels);
  };
  quantize_by_search(row, cols, importance, fit, store);
}

}  // namespace

void dequantize_q8_0(const std::byte* blocks, int64_t count, float* values) {
  for (; count > 0; count -= kBlock, values += kBlock, blocks += 34) {
    const float scale = load_f16(blocks);
    for (int j = 0; j < kBlock; ++j)
      values[j] = scale * static_cast<float>(static_cast<int8_t>(blocks[2 + j]));
  }
}

void weighted_q4_0(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_symmetric<8>(row, cols, importance,
                        [&](int64_t i, float scale, float, const uint8_t* q) {
                          store_f16(scale, blocks + 18 * i);
                          pack_nibbles(q, blocks + 18 * i + 2);
                        });
}

void dequantize_q4_0(const std::byte* blocks, int64_t count, float* values) {
  uint8_t q[kBlock];
  for (; count > 0; count -= kBlock, values += kBlock, blocks += 18) {
    const float scale = load_f16(blocks);
    unpack_nibbles(blocks + 2, q);
    for (int j = 0; j < kBlock; ++j) values[j] = scale * static_cast<float>(q[j] - 8);
  }
}

void weighted_q4_1(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_interval<15>(row, cols, importance,
                        [&](int64_t i, float scale, float low, const uint8_t* q) {
                          store_f16(scale, blocks + 20 * i);
                          store_f16(-low, blocks + 20 * i + 2);
                          pack_nibbles(q, blocks + 20 * i + 4);
                        });
}

void dequantize_q4_1(const std::byte* blocks, int64_t count, float* values) {
  uint8_t q[kBlock];
  for (; count > 0; count -= kBlock, values += kBlock, blocks += 20) {
    const float scale = load_f16(blocks);
    const float low = load_f16(blocks + 2);
    unpack_nibbles(blocks + 4, q);
    for (int j = 0; j < kBlock; ++j) values[j] = scale * q[j] + low;
  }
}

void weighted_q5_0(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_symmetric<16>(row, cols, importance,
                         [&](int64_t i, float scale, float, const uint8_t* q) {
                           store_f16(scale, blocks + 22 * i);
                           pack_fifth_bits(q, blocks + 22 * i + 2);
                           pack_nibbles(q, blocks + 22 * i + 6);
                         });
}

void dequantize_q5_0(const std::byte* blocks, int64_t count, float* values) {
  uint8_t q[kBlock];
  for (; count > 0; count -= kBlock, values += kBlock, blocks += 22) {
    const float scale = load_f16(blocks);
    unpack_nibbles(blocks + 6, q);
    unpack_fifth_bits(blocks + 2, q);
    for (int j = 0; j < kBlock; ++j) values[j] = scale * static_cast<float>(q[j] - 16);
  }
}

void weighted_q5_1(const float* row, int64_t cols, const float* importance, std::byte* blocks) {
  quantize_interval<31>(row, cols, importance,
                        [&](int64_t i, float scale, float low, const uint8_t* q) {
                          store_f16(scale, blocks + 24 * i);
                          store_f16(-low, blocks + 24 * i + 2);
                          pack_fifth_bits(q, blocks + 24 * i + 4);
                          pack_nibbles(q, blocks + 24 * i + 8);
                        });
}

void dequantize_q5_1(const std::byte* blocks, int64_t count, float* values) {
  uint8_t q[kBlock];
  for (; count > 0; count -= kBlock, values += kBlock, blocks += 24) {
    const float scale = load_f16(blocks);
    const float low = load_f16(blocks + 2);
    unpack_nibbles(blocks + 8, q);
    unpack_fifth_bits(blocks + 4, q);
    for (int j = 0; j < kBlock; ++j) values[j] = scale * q[j] + low;
  }
}

}  // namespace isoflop::blocks
