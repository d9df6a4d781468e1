#include "core/math.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/gemm.hpp"

#include <algorithm>

namespace isoflop::cpu {

constexpr int64_t kTile = 128;

void CpuBackend::matmul(const Matmul& op) {
  const View w = master_of(op.w);
  const int64_t in = op.x.cols, out = op.y.cols;
  const int64_t row_tiles = div_ceil(op.y.rows, kTile), col_tiles = div_ceil(out, kTile);
  const float scale = static_cast<float>(op.scale);
  team_.run(row_tiles * col_tiles, [&](int64_t tile, int) {
    const int64_t r0 = tile % row_tiles * kTile, r1 = std::min(r0 + kTile, op.y.rows);
    const int64_t c0 = tile / row_tiles * kTile, c1 = std::min(c0 + kTile, out);
    const float* bias = op.bias ? op.bias.as<float>() : nullptr;
    for (int64_t r = r0; r < r1; ++r)
      for (int64_t c = c0; c < c1; ++c)
        op.y.row<float>(r)[c] =
            (op.add ? op.add.row<float>(r)[c] : 0.0f) + (bias ? scale * bias[c] : 0.0f);
    gemm({.transpose_b = 'T',
          .m = r1 - r0,
          .n = c1 - c0,
          .k = in,
          .alpha = scale,
          .a = op.x.row<float>(r0),
          .lda = op.x.stride,
          .b = w.row<float>(c0),
          .ldb = w.stride,
          .beta = 1,
          .c = op.y.row<float>(r0) + c0,
          .ldc = op.y.stride});
  });
}

void CpuBackend::matmul_grad_input(const MatmulGradInput& op) {
  const View w = master_of(op.w);
  const int64_t in = op.dx.cols, out = op.dy.cols;
  const int64_t row_tiles = div_ceil(op.dx.rows, kTile), col_tiles = div_ceil(in, kTile);
  team_.run(row_tiles * col_tiles, [&](int64_t tile, int) {
    const int64_t r0 = tile % row_tiles * kTile, r1 = std::min(r0 + kTile, op.dx.rows);
    const int64_t c0 = tile / row_tiles * kTile, c1 = std::min(c0 + kTile, in);
    gemm({.m = r1 - r0,
          .n = c1 - c0,
          .k = out,
          .alpha = static_cast<float>(op.scale),
          .a = op.dy.row<float>(r0),
          .lda = op.dy.stride,
          .b = w.as<float>() + c0,
          .ldb = w.stride,
          .beta = op.accumulate ? 1.0f : 0.0f,
          .c = op.dx.row<float>(r0) + c0,
          .ldc = op.dx.stride});
  });
}

void CpuBackend::matmul_grad_weight(const MatmulGradWeight& op) {
  const int64_t in = op.x.cols, out = op.dy.cols, n = op.x.rows;
  const int64_t row_tiles = div_ceil(out, kTile), col_tiles = div_ceil(in, kTile);
  const float scale = static_cast<float>(op.scale);
  team_.run(row_tiles * col_tiles, [&](int64_t tile, int) {
    const int64_t r0 = tile % row_tiles * kTile, r1 = std::min(r0 + kTile, out);
    const int64_t c0 = tile / row_tiles * kTile, c1 = std::min(c0 + kTile, in);
    gemm({.transpose_a = 'T',
          .m = r1 - r0,
          .n = c1 - c0,
          .k = n,
          .alpha = scale,
          .a = op.dy.as<float>() + r0,
          .lda = op.dy.stride,
          .b = op.x.as<float>() + c0,
          .ldb = op.x.stride,
          .beta = 1,
          .c = op.dw.row<float>(r0) + c0,
          .ldc = op.dw.stride});
    if (!op.dbias || c0 != 0) return;
    for (int64_t c = r0; c < r1; ++c) {
      float sum = 0;
      for (int64_t r = 0; r < n; ++r) sum += op.dy.row<float>(r)[c];
      op.dbias.as<float>()[c] += scale * sum;
    }
  });
}

}  // namespace isoflop::cpu
