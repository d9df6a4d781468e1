#include "formats/block_levels.hpp"

#include "formats/block_codec_rows.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace isoflop {

namespace {

using blocks::load_f16;

constexpr int kSuper = 256;

uint8_t byte_at(const std::byte* in, int i) {
  return static_cast<uint8_t>(in[i]);
}

// Bytes may alias anything, which keeps compilers from vectors: everything below works on copies.
template <int kBytes>
struct Copied {
  explicit Copied(const std::byte* in) { std::memcpy(bytes, in, kBytes); }
  uint8_t operator[](int i) const { return bytes[i]; }
  uint8_t bytes[kBytes];
};

/// Sixteen bytes hold 32 nibbles: the low ones first.
void nibbles(const std::byte* in, int below, int16_t* levels) {
  const Copied<16> bytes(in);
  int16_t values[32];
  for (int j = 0; j < 16; ++j) values[j] = static_cast<int16_t>((bytes[j] & 15) - below);
  for (int j = 0; j < 16; ++j) values[j + 16] = static_cast<int16_t>((bytes[j] >> 4) - below);
  std::memcpy(levels, values, sizeof(values));
}

/// Bit j of four bytes adds 16 to level j; each byte is laid under its eight bits first, since a
/// shift by j has no vector form everywhere.
void add_fifth_bits(const std::byte* in, int16_t* levels) {
  static constexpr uint8_t kBit[32] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
                                       1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  uint8_t spread[32];
  for (int group = 0; group < 4; ++group) std::memset(spread + 8 * group, byte_at(in, group), 8);
  int16_t values[32];
  std::memcpy(values, levels, sizeof(values));
  for (int j = 0; j < 32; ++j)
    values[j] = static_cast<int16_t>(values[j] + ((spread[j] & kBit[j]) != 0 ? 16 : 0));
  std::memcpy(levels, values, sizeof(values));
}

// Blocks of 32: a scale, where there is one a minimum, fifth bits, and nibbles or bytes.
void unpack_q8_0(
    const std::byte* in, int64_t count, int16_t* levels, float* scales, float* minima) {
  for (; count > 0; count -= 32, in += 34, levels += 32) {
    *scales++ = load_f16(in);
    *minima++ = 0;
    int8_t bytes[32];
    std::memcpy(bytes, in + 2, sizeof(bytes));
    for (int j = 0; j < 32; ++j) levels[j] = bytes[j];
  }
}

template <int kBelow, bool kMinimum, bool kFifth>
void unpack_nibbles(
    const std::byte* in, int64_t count, int16_t* levels, float* scales, float* minima) {
  constexpr int kFront = kMinimum ? 4 : 2, kBytes = kFront + (kFifth ? 4 : 0) + 16;
  for (; count > 0; count -= 32, in += kBytes, levels += 32) {
    *scales++ = load_f16(in);
    *minima++ = kMinimum ? load_f16(in + 2) : 0;
    nibbles(in + kBytes - 16, kBelow, levels);
    if (kFifth) add_fifth_bits(in + kFront, levels);
  }
}

// Blocks of 256 (formats/block_codec_k.cpp): the whole-number scales of sub-blocks go into levels.
template <bool kFifth>
void unpack_q45_k(
    const std::byte* in, int64_t count, int16_t* levels, float* scales, float* minima) {
  constexpr int kBytes = kFifth ? 176 : 144;
  for (; count > 0; count -= kSuper, in += kBytes) {
    const float d = load_f16(in), d_minimum = load_f16(in + 2);
    const std::byte *packed = in + 4, *low = in + (kFifth ? 48 : 16);
    const Copied<32> fifth(in + 16);
    for (int b = 0; b < 8; ++b, levels += 32) {
      const int scale = b < 4 ? byte_at(packed, b) & 63
                              : (byte_at(packed, b + 4) & 15) | byte_at(packed, b - 4) >> 6 << 4;
      const int minimum = b < 4 ? byte_at(packed, b + 4) & 63
                                : byte_at(packed, b + 4) >> 4 | byte_at(packed, b) >> 6 << 4;
      *scales++ = d;
      *minima++ = -d_minimum * static_cast<float>(minimum);
      const Copied<32> group(low + b / 2 * 32);
      int16_t values[32];
      for (int j = 0; j < 32; ++j) {
        int q = group[j] >> (b % 2 * 4) & 15;
        if (kFifth) q |= (fifth[j] >> b & 1) << 4;
        values[j] = static_cast<int16_t>(scale * q);
      }
      std::memcpy(levels, values, sizeof(values));
    }
  }
}

void unpack_q6_k(
    const std::byte* in, int64_t count, int16_t* levels, float* scales, float* minima) {
  for (; count > 0; count -= kSuper, in += 210, levels += kSuper) {
    std::fill_n(scales, 8, load_f16(in + 208));
    std::fill_n(minima, 8, 0.0f);
    scales += 8, minima += 8;
    for (int part = 0; part < 8; ++part) {  // 32 values each, 16 to a scale
      const int half = part / 4, quarter = part % 4;
      const Copied<32> low(in + 64 * half + quarter % 2 * 32), top(in + 128 + 32 * half);
      int16_t scale[32], values[32];
      for (int k = 0; k < 2; ++k)
        std::fill_n(scale + 16 * k, 16, static_cast<int8_t>(in[192 + 2 * part + k]));
      for (int j = 0; j < 32; ++j) {
        const int q = (low[j] >> (quarter / 2 * 4) & 15) | (top[j] >> (quarter * 2) & 3) << 4;
        values[j] = static_cast<int16_t>(scale[j] * (q - 32));
      }
      std::memcpy(levels + 32 * part, values, sizeof(values));
    }
  }
}

constexpr ActivationRounding kQ8_0{32, true, false}, kQ8_1{32, true, true},
    kQ8_K{256, false, false};

constexpr std::pair<BlockType, BlockLevels> kLevels[] = {
    {BlockType::q8_0, {unpack_q8_0, false, kQ8_0}},
    {BlockType::q4_0, {unpack_nibbles<8, false, false>, false, kQ8_0}},
    {BlockType::q5_0, {unpack_nibbles<16, false, true>, false, kQ8_0}},
    {BlockType::q4_1, {unpack_nibbles<0, true, false>, true, kQ8_1}},
    {BlockType::q5_1, {unpack_nibbles<0, true, true>, true, kQ8_1}},
    {BlockType::q4_k, {unpack_q45_k<false>, true, kQ8_K}},
    {BlockType::q5_k, {unpack_q45_k<true>, true, kQ8_K}},
    {BlockType::q6_k, {unpack_q6_k, false, kQ8_K}},
};

}  // namespace

const BlockLevels* find_block_levels(BlockType type) {
  const auto* found = std::find_if(std::begin(kLevels), std::end(kLevels),
                                   [&](const auto& entry) { return entry.first == type; });
  return found == std::end(kLevels) ? nullptr : &found->second;
}

}  // namespace isoflop
