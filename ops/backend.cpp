#include "ops/backend.hpp"

#include "ops/check.hpp"

#include <algorithm>
#include <cstring>

namespace isoflop {

namespace {

constexpr int64_t kChunk = 4096;  // of sum_squares

void copy_bytes(View from, View to) {
  check_same(from, to);
  ISOFLOP_CHECK(from.contiguous() && to.contiguous(),
                "a tensor with gaps moves to or from a device");
  if (from.data != to.data) std::memcpy(to.data, from.data, from.bytes());
}

}  // namespace

void Backend::upload(View host, View here) {
  copy_bytes(host, here);
}

void Backend::download(View here, View host) {
  synchronize();
  copy_bytes(here, host);
}

void Backend::chunk_squares(std::span<const View> list, View squares) {
  int64_t next = 0;
  for (const View& x : list) {
    ISOFLOP_CHECK(x.contiguous(), "squares of a tensor with gaps");
    const View row = make_view(x.data, x.dtype, 1, x.size());
    for (int64_t first = 0; first < row.cols; first += kChunk)
      store_scalar(squares, 0, next++,
                   sum_squares(row.columns(first, std::min(kChunk, row.cols - first))));
  }
  ISOFLOP_CHECK(next == squares.size(), "{} chunks, and room for {}", next, squares.size());
}

double Backend::sum_chunks(std::span<const double> squares, std::span<const int64_t> chunks) const {
  double sum = 0;
  auto chunk = squares.begin();
  for (const int64_t of_tensor : chunks) {
    double tensor = 0;
    for (int64_t n = of_tensor; n > 0; --n) tensor += *chunk++;
    sum += tensor;
  }
  return sum;
}

void Backend::matmul_gelu(const MatmulGelu& a) {
  matmul({.x = a.x, .w = a.w, .bias = a.bias, .add = {}, .y = a.pre});
  gelu_forward({.x = a.pre, .y = a.y, .kind = a.kind});
}

void Backend::matmul_gelu_grad_input(const MatmulGeluGradInput& a) {
  matmul_grad_input({.dy = a.dy, .w = a.w, .dx = a.dx, .scale = a.scale});
  gelu_backward({.dy = a.dx, .x = a.pre, .dx = a.dx, .kind = a.kind});
}

}  // namespace isoflop
