#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/embedding.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "formats/block_codec.hpp"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

void embed_row(const float* token, const float* position, float scale, View to, int64_t row) {
  by_type(to.dtype, [&](auto zero) HWY_ATTR {
    auto* y = to.row<decltype(zero)>(row);
    for_each(to.cols, [&](auto d, int64_t i) HWY_ATTR {
      auto v = hn::LoadU(d, token + i);
      if (position) v = hn::Add(v, hn::LoadU(d, position + i));
      store(hn::Mul(v, hn::Set(d, scale)), d, y + i);
    });
  });
}

/// Columns [first, first + count) of every row, in row order.
template <class T>
void embedding_backward_columns_of(const EmbeddingBackward& op, int64_t first, int64_t count) {
  const float scale = static_cast<float>(op.scale);
  for (int64_t r = 0; r < op.dy.rows; ++r) {
    const T* dy = op.dy.row<T>(r) + first;
    float* token = op.dtable.row<float>(op.tokens[static_cast<size_t>(r)]) + first;
    float* position = op.dpositions ? op.dpositions.row<float>(r % op.sequence) + first : nullptr;
    for_each(count, [&](auto d, int64_t i) HWY_ATTR {
      const auto grad = hn::Mul(load(d, dy + i), hn::Set(d, scale));
      hn::StoreU(hn::Add(hn::LoadU(d, token + i), grad), d, token + i);
      if (position) hn::StoreU(hn::Add(hn::LoadU(d, position + i), grad), d, position + i);
    });
  }
}
void embedding_backward_columns(const EmbeddingBackward& op, int64_t first, int64_t count) {
  by_type(op.dy.dtype, [&](auto zero) HWY_ATTR {
    embedding_backward_columns_of<decltype(zero)>(op, first, count);
  });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(embed_row);
HWY_EXPORT(embedding_backward_columns);

void CpuBackend::embedding_forward(const EmbeddingForward& op) {
  check(op);
  const BlockMatrix blocks = weight_of(op.table).blocks;
  if (blocks) return embed_blocks(op, blocks);
  const View table = master_of(op.table);
  const View positions = op.positions.handle ? master_of(op.positions) : View{};
  const auto kernel = HWY_DYNAMIC_DISPATCH(embed_row);
  for_row_blocks(op.y.rows, op.y.cols, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r)
      kernel(table.row<float>(op.tokens[static_cast<size_t>(r)]),
             positions ? positions.row<float>(op.first_position + r % op.sequence) : nullptr,
             static_cast<float>(op.scale), op.y, r);
  });
}

/// Rows of quantized blocks, dequantized one by one.
void CpuBackend::embed_blocks(const EmbeddingForward& op, const BlockMatrix& table) {
  const BlockCodec& codec = *find_block_codec(table.type);
  const int64_t row_bytes = codec.bytes_for(table.cols);
  const View positions = op.positions.handle ? master_of(op.positions) : View{};
  const auto kernel = HWY_DYNAMIC_DISPATCH(embed_row);
  float* rows = scratch_.floats(team_.size() * table.cols);
  team_.run(op.y.rows, [&](int64_t r, int thread) {
    float* row = rows + thread * table.cols;
    const int32_t token = op.tokens[static_cast<size_t>(r)];
    codec.dequantize(table.blocks + token * row_bytes, table.cols, row);
    kernel(row, positions ? positions.row<float>(op.first_position + r % op.sequence) : nullptr,
           static_cast<float>(op.scale), op.y, r);
  });
}

void CpuBackend::embedding_backward(const EmbeddingBackward& op) {
  check(op);
  // Rows of the table meet in any order, so tiles are columns: each sums all rows in order, and no
  // work or memory depends on the size of the vocabulary.
  constexpr int64_t kColumns = 64;
  const int64_t D = op.dy.cols;
  const auto kernel = HWY_DYNAMIC_DISPATCH(embedding_backward_columns);
  team_.run(div_ceil(D, kColumns), [&](int64_t tile, int) {
    kernel(op, tile * kColumns, std::min(kColumns, D - tile * kColumns));
  });
}

}  // namespace isoflop::cpu
#endif
