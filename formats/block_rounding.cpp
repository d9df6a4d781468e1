#include "formats/block_rounding.hpp"

#include "core/error.hpp"

#include <algorithm>

namespace isoflop {

void round_to_blocks(const BlockCodec& codec,
                     const float* from,
                     int64_t rows,
                     int64_t cols,
                     float factor,
                     float* to) {
  constexpr int64_t kPiece = 1024;  // values at once: a multiple of every block, on the stack
  ISOFLOP_CHECK(codec.quantize && codec.dequantize && codec.fits(cols), "rows of {} as {}", cols,
                codec.name);
  float values[kPiece];
  std::byte blocks[kPiece * sizeof(float)];
  for (int64_t first = 0; first < rows * cols; first += kPiece) {
    const int64_t count = std::min(kPiece, rows * cols - first);
    for (int64_t i = 0; i < count; ++i) values[i] = from[first + i] * factor;
    codec.quantize(values, count, blocks);
    codec.dequantize(blocks, count, values);
    for (int64_t i = 0; i < count; ++i) to[first + i] = values[i] / factor;
  }
}

}  // namespace isoflop
