// Rounding a weight to the grid of a file's quantized blocks, which the forward pass then reads in
// the masters' place; the gradient passes through as if nothing were rounded.
#pragma once
#include "core/view.hpp"

#include <cstdint>

namespace isoflop {

/// to = dequantize(quantize(from * factor)) / factor, row by row, by the codec of that type
/// (formats/block_rounding.hpp).
struct BlockRounding {
  View from, to;      // one shape, state dtype, contiguous; cols whole blocks
  uint32_t type = 0;  // its id in a GGUF file
  double factor = 1;  // what an export multiplies the rows by (pretrain/fold.hpp)
};

}  // namespace isoflop
