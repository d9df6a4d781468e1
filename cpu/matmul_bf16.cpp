#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul_bf16.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "cpu/tiling.hpp"
#include "hwy/cache_control.h"

// Every tile is summed in fp32 in scratch of its thread, then written once: result = add + scale
// (sum + bias), where of a state product what is added has a factor too. The weight's panels are
// made at its first use in a direction, so a model that only generates holds no transposed copy and
// an embedding none at all.
#ifndef ISOFLOP_CPU_MATMUL_BF16_FINISH
#define ISOFLOP_CPU_MATMUL_BF16_FINISH
namespace isoflop::cpu {
struct Finish {
  const float* sums;
  int64_t stride;     // of the sums' rows
  const float* bias;  // of the first column; may be null
  View add;           // may be absent, or the result itself
  View result;
  float scale, add_scale;
};
}  // namespace isoflop::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

constexpr int64_t kRowsAhead = 4;

/// A row comes from memory and lies apart from the last one, which the processor does not foresee.
template <class T>
HWY_INLINE void fetch_row(const T* row, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < count; i += kLine) hwy::Prefetch(row + i);
}

template <class T>
void finish_tile_of(const Finish& f) {
  for (int64_t r = 0; r < f.result.rows; ++r) {
    const float *sums = f.sums + r * f.stride, *bias = f.bias;
    const T* add = f.add ? f.add.row<T>(r) : nullptr;
    T* result = f.result.row<T>(r);
    const int64_t soon = std::min(r + kRowsAhead, f.result.rows - 1);
    fetch_row(f.result.row<T>(soon), f.result.cols);
    if (add && f.add.data != f.result.data) fetch_row(f.add.row<T>(soon), f.result.cols);
    for_each(f.result.cols, [&](auto d, int64_t i) HWY_ATTR {
      auto v = hn::LoadU(d, sums + i);
      if (bias) v = hn::Add(v, hn::LoadU(d, bias + i));
      const auto before = add ? hn::Mul(load(d, add + i), hn::Set(d, f.add_scale)) : hn::Zero(d);
      v = hn::MulAdd(v, hn::Set(d, f.scale), before);
      store(v, d, result + i);
    });
  }
}

void finish_tile(const Finish& f) {
  by_type(f.result.dtype, [&](auto zero) HWY_ATTR { finish_tile_of<decltype(zero)>(f); });
}

/// Rows [first, last), one behind the other.
void round_rows(View from, int64_t first, int64_t last, bf16* to) {
  for (int64_t r = first; r < last; ++r) {
    const float* row = from.row<float>(r);
    bf16* rounded = to + r * from.cols;
    for_each(from.cols,
             [&](auto d, int64_t i) HWY_ATTR { store(hn::LoadU(d, row + i), d, rounded + i); });
  }
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(finish_tile);
HWY_EXPORT(round_rows);

namespace {

constexpr int64_t kFewTokens = 32;   // up to here a product is a stream of the weight
constexpr int64_t kPackedRows = 64;  // rows that one tile packs

View part(View v, const Tiling::Tile& t) {
  return v ? v.slice(t.row, t.rows).columns(t.col, t.cols) : v;
}

bf16* panels_of(Buffer& buffer) {
  return reinterpret_cast<bf16*>(buffer.data());
}

/// Tokens by features; few tokens are not cut, only the panels of the weight.
Tiling tiling_of(int64_t tokens, int64_t cols, int64_t inner, int64_t enough) {
  Tiling tiling(tokens, cols, inner, kBlockRows, kBlockCols, enough);
  if (tokens > kFewTokens) return tiling;
  tiling.tile_rows = std::max<int64_t>(tokens, 1);
  tiling.tile_cols = round_up(div_ceil(32 * 1024, std::max<int64_t>(inner, 1)), kBlockCols);
  return tiling;
}

}  // namespace

/// Panels of source^T, of source, or of both at once, so that it comes from memory only once.
void CpuBackend::pack(View source, bf16* of_transpose, bf16* of_source) {
  static_assert(kPackedRows % kPanel == 0);
  team_.run(div_ceil(source.rows, kPackedRows), [&](int64_t tile, int) {
    const int64_t first = tile * kPackedRows, last = std::min(first + kPackedRows, source.rows);
    if (of_transpose)
      for (int64_t row = first; row < last; row += kPanel)
        pack_columns(source, row / kPanel, of_transpose);
    if (of_source) pack_rows({source, first, last, of_source});
  });
}

const bf16* CpuBackend::forward_panels(const WeightRef& ref) {
  Weight& w = weight_of(ref);
  if (!w.forward.data()) {
    const auto count = static_cast<size_t>(packed_size(w.master.cols, w.master.rows));
    w.forward = allocate_host(count * sizeof(bf16), "a weight in bf16");
    pack(w.master, panels_of(w.forward), nullptr);
  }
  return panels_of(w.forward);
}

const bf16* CpuBackend::backward_panels(const WeightRef& ref) {
  Weight& w = weight_of(ref);
  if (!w.backward.data()) {
    const auto count = static_cast<size_t>(packed_size(w.master.rows, w.master.cols));
    w.backward = allocate_host(count * sizeof(bf16), "a weight in bf16");
    pack(w.master, nullptr, panels_of(w.backward));
  }
  return panels_of(w.backward);
}

void CpuBackend::refresh(WeightRef ref) {
  Weight& w = weight_of(ref);
  if (w.forward.data() || w.backward.data())
    pack(w.master, panels_of(w.forward), panels_of(w.backward));
}

/// result = add_scale add + scale (A B + bias), where A is (rows, inner) and B panels of (inner,
/// columns).
void CpuBackend::multiply_bf16(const Bf16Product& p) {
  if (p.result.size() == 0) return;
  // Every sum is made in the same order whatever the tiles, so they may be as large as leaves each
  // thread a few: one that has to wait for its core must not hold up the others.
  const int64_t enough = 4 * team_.size();
  Tiling tiling = p.transposed_a
                      ? Tiling(p.result.rows, p.result.cols, p.inner, kPanel, kBlockCols, enough)
                      : tiling_of(p.result.rows, p.result.cols, p.inner, enough);
  if (p.transposed_a) tiling.even_out(team_.size(), kPanel);
  const int64_t stride = round_up(std::min(tiling.tile_cols, p.result.cols), 16);
  const int64_t room = tiling.tile_rows * stride;
  float* scratch = scratch_.floats(team_.size() * room);
  const auto finish = HWY_DYNAMIC_DISPATCH(finish_tile);
  team_.run(tiling.count(), [&](int64_t index, int thread) {
    const Tiling::Tile t = tiling[index];
    float* sums = scratch + thread * room;
    gemm_bf16({.m = t.rows,
               .n = t.cols,
               .k = p.inner,
               .a = p.transposed_a ? p.a + t.row : p.a + t.row * p.lda,
               .lda = p.lda,
               .transposed_a = p.transposed_a,
               .b = p.b + t.col / kPanel * panel_stride(p.inner),
               .c = sums,
               .ldc = stride},
              kernel_);
    finish({.sums = sums,
            .stride = stride,
            .bias = p.bias ? p.bias.as<float>() + t.col : nullptr,
            .add = part(p.add, t),
            .result = part(p.result, t),
            .scale = static_cast<float>(p.scale),
            .add_scale = static_cast<float>(p.add_scale)});
  });
}

void CpuBackend::matmul_bf16(const Matmul& op) {
  multiply_bf16({.a = op.x.as<bf16>(),
                 .lda = op.x.stride,
                 .b = forward_panels(op.w),
                 .inner = op.x.cols,
                 .bias = op.bias,
                 .add = op.add,
                 .result = op.y,
                 .scale = op.scale});
}

void CpuBackend::matmul_grad_input_bf16(const MatmulGradInput& op) {
  multiply_bf16({.a = op.dy.as<bf16>(),
                 .lda = op.dy.stride,
                 .b = backward_panels(op.w),
                 .inner = op.dy.cols,
                 .bias = {},
                 .add = op.accumulate ? op.dx : View{},
                 .result = op.dx,
                 .scale = op.scale});
}

void CpuBackend::matmul_grad_weight_bf16(const MatmulGradWeight& op) {
  const int64_t tokens = op.x.rows;
  bf16* x = panels_.bf16s(packed_size(tokens, op.x.cols));
  pack(op.x, nullptr, x);
  multiply_bf16({.a = op.dy.as<bf16>(),
                 .lda = op.dy.stride,
                 .transposed_a = true,
                 .b = x,
                 .inner = tokens,
                 .bias = {},
                 .add = op.dw,
                 .result = op.dw,
                 .scale = op.scale});
  if (!op.dbias) return;
  constexpr int64_t kTogether = 6 * kPanel;  // columns whose sums hide each other's latency
  team_.run(div_ceil(op.dy.cols, kTogether), [&](int64_t tile, int) {
    const int64_t first = tile * kTogether, count = std::min(kTogether, op.dy.cols - first);
    add_column_sums(op.dy.columns(first, count), static_cast<float>(op.scale),
                    op.dbias.as<float>() + first);
  });
}

/// From copies in bf16, as the other products.
void CpuBackend::state_product_bf16(const StateProduct& op) {
  const int64_t inner = op.transpose_a ? op.a.rows : op.a.cols;
  const int64_t packed = round_up(packed_size(inner, op.c.cols), 32);  // whole cache lines
  bf16* b = panels_.bf16s(packed + op.a.size());
  bf16* a = b + packed;
  pack(op.b, op.transpose_b ? b : nullptr, op.transpose_b ? nullptr : b);
  const auto round = HWY_DYNAMIC_DISPATCH(round_rows);
  for_row_blocks(op.a.rows, op.a.cols,
                 [&](int64_t first, int64_t last) { round(op.a, first, last, a); });
  multiply_bf16({.a = a,
                 .lda = op.a.cols,
                 .transposed_a = op.transpose_a,
                 .b = b,
                 .inner = inner,
                 .bias = {},
                 .add = op.beta != 0 ? op.c : View{},
                 .result = op.c,
                 .scale = op.alpha,
                 .add_scale = op.beta});
}

}  // namespace isoflop::cpu
#endif
