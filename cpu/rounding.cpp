#include "cpu/cpu_backend.hpp"
#include "formats/block_rounding.hpp"
#include "ops/check.hpp"

namespace isoflop::cpu {

void CpuBackend::round_to_blocks(const BlockRounding& op) {
  check(op);
  const BlockCodec& codec = block_codec(static_cast<BlockType>(op.type));
  const int64_t cols = op.from.cols;
  for_row_blocks(op.from.rows, cols, [&](int64_t first, int64_t last) {
    isoflop::round_to_blocks(codec, op.from.row<float>(first), last - first, cols,
                             static_cast<float>(op.factor), op.to.row<float>(first));
  });
}

}  // namespace isoflop::cpu
