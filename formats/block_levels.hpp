// Quantized rows as what a dot product needs: whole numbers with a scale and a minimum for every 32
// of them, the same for all types whose blocks are made of such sub-blocks.
#pragma once
#include "formats/block_codec.hpp"

namespace isoflop {

inline constexpr int64_t kLevelBlock = 32;

/// What the runtime rounds activations to before it multiplies them by blocks of a type: `d` is the
/// largest magnitude of a block of `elements` over 127, kept in F16 or F32.
struct ActivationRounding {
  int64_t elements = 32;
  bool scale_in_f16 = true;
  bool sum_in_f16 = false;  // of levels times d, for types with a minimum (Q8_1)
};

struct BlockLevels {
  /// value[i] = scales[i / 32] * levels[i] + minima[i / 32] for `count` values of a row.
  using Unpack = void (*)(
      const std::byte* blocks, int64_t count, int16_t* levels, float* scales, float* minima);
  Unpack unpack;
  bool has_minima;
  ActivationRounding activations;
};

/// Null for types without such a form: F32, F16, BF16, those that look values up.
const BlockLevels* find_block_levels(BlockType type);

}  // namespace isoflop
