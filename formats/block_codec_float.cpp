#include "formats/block_codec_rows.hpp"

namespace isoflop::blocks {

void quantize_f32(const float* values, int64_t count, std::byte* blocks) {
  std::memcpy(blocks, values, static_cast<size_t>(count) * sizeof(float));
}

void dequantize_f32(const std::byte* blocks, int64_t count, float* values) {
  std::memcpy(values, blocks, static_cast<size_t>(count) * sizeof(float));
}

void quantize_f16(const float* values, int64_t count, std::byte* blocks) {
  for (int64_t i = 0; i < count; ++i) store_f16(values[i], blocks + 2 * i);
}

void dequantize_f16(const std::byte* blocks, int64_t count, float* values) {
  for (int64_t i = 0; i < count; ++i) values[i] = load_f16(blocks + 2 * i);
}

void quantize_bf16(const float* values, int64_t count, std::byte* blocks) {
  for (int64_t i = 0; i < count; ++i) {
    const bf16 value = to_bf16(values[i]);
    std::memcpy(blocks + 2 * i, &value, sizeof(value));
  }
}

void dequantize_bf16(const std::byte* blocks, int64_t count, float* values) {
  for (int64_t i = 0; i < count; ++i) {
    bf16 value;
    std::memcpy(&value, blocks + 2 * i, sizeof(value));
    values[i] = to_float(value);
  }
}

}  // namespace isoflop::blocks
