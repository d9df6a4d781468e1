// The row functions behind the table of block_codec.cpp; layouts are described beside each.
#pragma once
#include "core/dtype.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace isoflop::blocks {

inline void store_f16(float value, std::byte* at) {
  const f16 half = to_f16(value);
  std::memcpy(at, &half, sizeof(half));
}
inline float load_f16(const std::byte* at) {
  f16 half;
  std::memcpy(&half, at, sizeof(half));
  return to_float(half);
}

// block_codec_float.cpp
void quantize_f32(const float* values, int64_t count, std::byte* blocks);
void quantize_f16(const float* values, int64_t count, std::byte* blocks);
void quantize_bf16(const float* values, int64_t count, std::byte* blocks);
void dequantize_f32(const std::byte* blocks, int64_t count, float* values);
void dequantize_f16(const std::byte* blocks, int64_t count, float* values);
void dequantize_bf16(const std::byte* blocks, int64_t count, float* values);

// block_codec_32.cpp, block_codec_32_plain.cpp
void quantize_q8_0(const float* values, int64_t count, std::byte* blocks);
void quantize_q4_0(const float* values, int64_t count, std::byte* blocks);
void quantize_q4_1(const float* values, int64_t count, std::byte* blocks);
void quantize_q5_0(const float* values, int64_t count, std::byte* blocks);
void quantize_q5_1(const float* values, int64_t count, std::byte* blocks);
void dequantize_q8_0(const std::byte* blocks, int64_t count, float* values);
void dequantize_q4_0(const std::byte* blocks, int64_t count, float* values);
void dequantize_q4_1(const std::byte* blocks, int64_t count, float* values);
void dequantize_q5_0(const std::byte* blocks, int64_t count, float* values);
void dequantize_q5_1(const std::byte* blocks, int64_t count, float* values);
void weighted_q4_0(const float* row, int64_t cols, const float* importance, std::byte* blocks);
void weighted_q4_1(const float* row, int64_t cols, const float* importance, std::byte* blocks);
void weighted_q5_0(const float* row, int64_t cols, const float* importance, std::byte* blocks);
void weighted_q5_1(const float* row, int64_t cols, const float* importance, std::byte* blocks);

// block_codec_k.cpp
void quantize_q4_k(const float* values, int64_t count, std::byte* blocks);
void quantize_q5_k(const float* values, int64_t count, std::byte* blocks);
void quantize_q6_k(const float* values, int64_t count, std::byte* blocks);
void weighted_q4_k(const float* row, int64_t cols, const float* importance, std::byte* blocks);
void weighted_q5_k(const float* row, int64_t cols, const float* importance, std::byte* blocks);
void weighted_q6_k(const float* row, int64_t cols, const float* importance, std::byte* blocks);
void dequantize_q4_k(const std::byte* blocks, int64_t count, float* values);
void dequantize_q5_k(const std::byte* blocks, int64_t count, float* values);
void dequantize_q6_k(const std::byte* blocks, int64_t count, float* values);

// block_codec_table.cpp
void dequantize_iq4_nl(const std::byte* blocks, int64_t count, float* values);
void dequantize_iq4_xs(const std::byte* blocks, int64_t count, float* values);
void dequantize_mxfp4(const std::byte* blocks, int64_t count, float* values);
void dequantize_nvfp4(const std::byte* blocks, int64_t count, float* values);

}  // namespace isoflop::blocks
