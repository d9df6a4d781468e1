// Block codecs: how a row of floats lies in a GGUF file, one table for all types.
//
// A row is cut into blocks of `block_elements` values, each stored in `block_bytes` bytes; a row's
// length must be a multiple of the block. Types that we only need to skip or name have no
// functions. Quantizers give the bytes of the reference CPU runtime, without and with an importance
// matrix. Rows are independent, so callers cut work over threads by rows.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace isoflop {

/// The values are the ids in the file.
enum class BlockType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30,
  mxfp4 = 39,
  nvfp4 = 40,
};

struct BlockCodec {
  /// `count` values, a multiple of block_elements: finite and of a magnitude up to `largest`, so
  /// that no F16 value, scale or minimum overflows.
  using Quantize = void (*)(const float* values, int64_t count, std::byte* blocks);
  /// One row, whose column c matters importance[c] >= 0 times as much (the mean square of what the
  /// matrix is multiplied by there).
  using QuantizeWeighted = void (*)(const float* row,
                                    int64_t cols,
                                    const float* importance,
                                    std::byte* blocks);
  using Dequantize = void (*)(const std::byte* blocks, int64_t count, float* values);

  BlockType type;
  std::string_view name;  // as the field writes it: F16, Q4_0, Q6_K
  int64_t block_elements;
  int64_t block_bytes;
  Quantize quantize;                             // null: cannot be written
  Dequantize dequantize;                         // null: cannot be read
  QuantizeWeighted quantize_weighted = nullptr;  // null: importance makes no difference

  float largest() const {
    return block_elements > 1 ? 32768.0f : type == BlockType::f16 ? 65504.0f : 3.4e38f;
  }
  bool fits(int64_t row_length) const { return row_length % block_elements == 0; }
  int64_t bytes_for(int64_t count) const { return count / block_elements * block_bytes; }
};

std::span<const BlockCodec> block_codecs();
const BlockCodec& block_codec(BlockType type);
/// By the id in a file, or by name without regard to case; null when there is none.
const BlockCodec* find_block_codec(uint32_t id);
const BlockCodec* find_block_codec(std::string_view name);

}  // namespace isoflop
