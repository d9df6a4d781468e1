// What is left of weights that go through a file of quantized blocks, without the file: training on
// the grid that an export will have.
#pragma once
#include "formats/block_codec.hpp"

#include <cstdint>

namespace isoflop {

/// `rows` contiguous rows of `cols` values, whole blocks: to = (what a reader finds after
/// from * factor was written as blocks of `codec`) / factor. `to` may be `from`. Rounding again
/// changes nothing that a file shows: factors that are no powers of two move a value by a unit in
/// its last place, and blocks of Q4_0, Q5_0, Q8_0 and F16 come out the same.
void round_to_blocks(const BlockCodec& codec,
                     const float* from,
                     int64_t rows,
                     int64_t cols,
                     float factor,
                     float* to);

}  // namespace isoflop
