#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/gemm.hpp"
#include "cpu/simd-inl.h"
#include "cpu/tiling.hpp"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// count elements of y = add + scale * bias, either absent
void start_row(const float* add, const float* bias, float scale, int64_t count, float* y) {
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    auto v = add ? hn::LoadU(d, add + i) : hn::Zero(d);
    if (bias) v = hn::MulAdd(hn::LoadU(d, bias + i), hn::Set(d, scale), v);
    hn::StoreU(v, d, y + i);
  });
}

// Dot products of kTokens rows of x with up to four rows of w, so that one load of w serves all
// tokens and one load of x four outputs.
template <int kTokens, int kOutputs>
HWY_INLINE void dots(View x, View w, int64_t token, int64_t output, float result[4][4]) {
  const Full d;
  const int64_t in = x.cols, step = lanes();
  const float *xs[kTokens], *ws[kOutputs];
  VFull sum[kOutputs][kTokens];
  for (int t = 0; t < kTokens; ++t) xs[t] = x.row<float>(token + t);
  for (int o = 0; o < kOutputs; ++o) {
    ws[o] = w.row<float>(output + o);
    for (int t = 0; t < kTokens; ++t) sum[o][t] = hn::Zero(d);
  }
  int64_t i = 0;
  for (; i + step <= in; i += step) {
    VFull xv[kTokens];
    for (int t = 0; t < kTokens; ++t) xv[t] = hn::LoadU(d, xs[t] + i);
    for (int o = 0; o < kOutputs; ++o) {
      const VFull wv = hn::LoadU(d, ws[o] + i);
      for (int t = 0; t < kTokens; ++t) sum[o][t] = hn::MulAdd(wv, xv[t], sum[o][t]);
    }
  }
  for (int o = 0; o < kOutputs; ++o)
    for (int t = 0; t < kTokens; ++t) {
      float total = hn::GetLane(hn::SumOfLanes(d, sum[o][t]));
      for (int64_t j = i; j < in; ++j) total += ws[o][j] * xs[t][j];
      result[t][o] = total;
    }
}

template <int kTokens>
void few_tokens(const Matmul& op, View w, int64_t token, int64_t first, int64_t last) {
  const float scale = static_cast<float>(op.scale);
  const float* bias = op.bias ? op.bias.as<float>() : nullptr;
  for (int64_t output = first; output < last;) {
    float result[4][4];
    const int count = last - output >= 4 ? 4 : 1;
    if (count == 4)
      dots<kTokens, 4>(op.x, w, token, output, result);
    else
      dots<kTokens, 1>(op.x, w, token, output, result);
    for (int t = 0; t < kTokens; ++t)
      for (int o = 0; o < count; ++o) {
        const int64_t column = output + o;
        const float add = op.add ? op.add.row<float>(token + t)[column] : 0.0f;
        const float value = result[t][o] + (bias ? bias[column] : 0.0f);
        op.y.row<float>(token + t)[column] = add + scale * value;
      }
    output += count;
  }
}

/// Outputs [first, last) for every row of x, four rows at a time.
void matmul_few(const Matmul& op, View w, int64_t first, int64_t last) {
  for (int64_t token = 0; token < op.x.rows; token += 4) switch (op.x.rows - token) {
      case 1:
        few_tokens<1>(op, w, token, first, last);
        break;
      case 2:
        few_tokens<2>(op, w, token, first, last);
        break;
      case 3:
        few_tokens<3>(op, w, token, first, last);
        break;
      default:
        few_tokens<4>(op, w, token, first, last);
    }
}

/// kVectors vectors of columns from `column` on: to += scale * sum over rows, in blocks of 64 rows
/// to keep the rounding small.
template <class T, int kVectors, class D>
HWY_INLINE void add_column_sums_at(D d, View from, float scale, int64_t column, float* to) {
  constexpr int64_t kRows = 64;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<D> total[kVectors], sum[kVectors];
  for (auto& v : total) v = hn::Zero(d);
  for (int64_t first = 0; first < from.rows; first += kRows) {
    for (auto& v : sum) v = hn::Zero(d);
    for (int64_t r = first; r < std::min(first + kRows, from.rows); ++r) {
      const T* row = from.row<T>(r) + column;
      for (int k = 0; k < kVectors; ++k) sum[k] = hn::Add(sum[k], load(d, row + k * step));
    }
    for (int k = 0; k < kVectors; ++k) total[k] = hn::Add(total[k], sum[k]);
  }
  for (int k = 0; k < kVectors; ++k) {
    float* at = to + column + k * step;
    hn::StoreU(hn::MulAdd(total[k], hn::Set(d, scale), hn::LoadU(d, at)), d, at);
  }
}

template <class T>
void add_column_sums_of(View from, float scale, float* to) {
  const int64_t step = lanes();
  int64_t c = 0;
  for (; c + 6 * step <= from.cols; c += 6 * step)
    add_column_sums_at<T, 6>(Full(), from, scale, c, to);
  for (; c + step <= from.cols; c += step) add_column_sums_at<T, 1>(Full(), from, scale, c, to);
  for (; c < from.cols; ++c) add_column_sums_at<T, 1>(One(), from, scale, c, to);
}
void add_column_sums(View from, float scale, float* to) {
  by_type(from.dtype,
          [&](auto zero) HWY_ATTR { add_column_sums_of<decltype(zero)>(from, scale, to); });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(start_row);
HWY_EXPORT(matmul_few);
HWY_EXPORT(add_column_sums);

namespace {

// Up to here own dot products stream the weight faster than the library does.
constexpr int64_t kFewTokens = 32;

}  // namespace

void add_column_sums(View from, float scale, float* to) {
  HWY_DYNAMIC_DISPATCH(add_column_sums)(from, scale, to);
}

void CpuBackend::matmul(const Matmul& op) {
  check(op);
  if (weight_of(op.w).blocks) return matmul_blocks(op, weight_of(op.w).blocks);
  if (op.x.dtype == DType::bf16) return matmul_bf16(op);
  const View w = master_of(op.w);
  const int64_t in = op.x.cols, out = op.y.cols;
  if (op.x.rows <= kFewTokens) {
    const auto kernel = HWY_DYNAMIC_DISPATCH(matmul_few);
    const int64_t outputs = round_up(div_ceil(kBlockElements * 2, in), 4);
    team_.run(div_ceil(out, outputs), [&](int64_t tile, int) {
      kernel(op, w, tile * outputs, std::min((tile + 1) * outputs, out));
    });
    return;
  }
  const auto start = HWY_DYNAMIC_DISPATCH(start_row);
  const Tiling tiling(op.y.rows, out, in);
  const float scale = static_cast<float>(op.scale);
  const bool in_place = op.add.data == op.y.data && !op.bias;
  team_.run(tiling.count(), [&](int64_t index, int) {
    const Tiling::Tile t = tiling[index];
    if ((op.add || op.bias) && !in_place)
      for (int64_t r = t.row; r < t.row + t.rows; ++r)
        start(op.add ? op.add.row<float>(r) + t.col : nullptr,
              op.bias ? op.bias.as<float>() + t.col : nullptr, scale, t.cols,
              op.y.row<float>(r) + t.col);
    gemm({.transpose_b = 'T',
          .m = t.rows,
          .n = t.cols,
          .k = in,
          .alpha = scale,
          .a = op.x.row<float>(t.row),
          .lda = op.x.stride,
          .b = w.row<float>(t.col),
          .ldb = w.stride,
          .beta = op.add || op.bias ? 1.0f : 0.0f,
          .c = op.y.row<float>(t.row) + t.col,
          .ldc = op.y.stride});
  });
}

void CpuBackend::matmul_grad_input(const MatmulGradInput& op) {
  check(op);
  if (op.dy.dtype == DType::bf16) return matmul_grad_input_bf16(op);
  const View w = master_of(op.w);
  const Tiling tiling(op.dx.rows, op.dx.cols, op.dy.cols);
  team_.run(tiling.count(), [&](int64_t index, int) {
    const Tiling::Tile t = tiling[index];
    gemm({.m = t.rows,
          .n = t.cols,
          .k = op.dy.cols,
          .alpha = static_cast<float>(op.scale),
          .a = op.dy.row<float>(t.row),
          .lda = op.dy.stride,
          .b = w.as<float>() + t.col,
          .ldb = w.stride,
          .beta = op.accumulate ? 1.0f : 0.0f,
          .c = op.dx.row<float>(t.row) + t.col,
          .ldc = op.dx.stride});
  });
}

void CpuBackend::matmul_grad_weight(const MatmulGradWeight& op) {
  check(op);
  if (op.dy.dtype == DType::bf16) return matmul_grad_weight_bf16(op);
  const Tiling tiling(op.dw.rows, op.dw.cols, op.x.rows);
  const float scale = static_cast<float>(op.scale);
  team_.run(tiling.count(), [&](int64_t index, int) {
    const Tiling::Tile t = tiling[index];
    gemm({.transpose_a = 'T',
          .m = t.rows,
          .n = t.cols,
          .k = op.x.rows,
          .alpha = scale,
          .a = op.dy.as<float>() + t.row,
          .lda = op.dy.stride,
          .b = op.x.as<float>() + t.col,
          .ldb = op.x.stride,
          .beta = 1,
          .c = op.dw.row<float>(t.row) + t.col,
          .ldc = op.dw.stride});
    if (op.dbias && t.col == 0)  // these columns of dy are in the cache now
      add_column_sums(op.dy.columns(t.row, t.rows), scale, op.dbias.as<float>() + t.row);
  });
}

void CpuBackend::state_product(const StateProduct& op) {
  check(op);
  if (activation_ == DType::bf16) return state_product_bf16(op);
  const int64_t inner = op.transpose_a ? op.a.rows : op.a.cols;
  const Tiling tiling(op.c.rows, op.c.cols, inner);
  team_.run(tiling.count(), [&](int64_t index, int) {
    const Tiling::Tile t = tiling[index];
    gemm({.transpose_a = op.transpose_a ? 'T' : 'N',
          .transpose_b = op.transpose_b ? 'T' : 'N',
          .m = t.rows,
          .n = t.cols,
          .k = inner,
          .alpha = static_cast<float>(op.alpha),
          .a = op.transpose_a ? op.a.as<float>() + t.row : op.a.row<float>(t.row),
          .lda = op.a.stride,
          .b = op.transpose_b ? op.b.row<float>(t.col) : op.b.as<float>() + t.col,
          .ldb = op.b.stride,
          .beta = static_cast<float>(op.beta),
          .c = op.c.row<float>(t.row) + t.col,
          .ldc = op.c.stride});
  });
}

}  // namespace isoflop::cpu
#endif
