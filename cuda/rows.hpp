// Rows of a matrix as a kernel sees them, and the two shapes most kernels have: one step per piece
// of a row, and sums over rows that come out the same on every run.
#pragma once
#include "core/math.hpp"
#include "core/view.hpp"
#include "cuda/thread.hpp"

#include <initializer_list>

namespace isoflop::gpu {

/// Pointer and stride of a View; its shape is an argument of the kernel.
template <class T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;

  ISOFLOP_KERNEL T* at(int64_t row, int64_t col) const { return data + row * stride + col; }
};
template <class T>
Rows<T> rows_of(View view) {
  if (!view) return {};
  return {view.as<std::remove_const_t<T>>(), view.rows > 1 ? view.stride : view.cols};
}

/// Whether every piece of eight elements of these views starts at 16 bytes.
inline bool in_eights(std::initializer_list<View> views) {
  for (const View& v : views) {
    if (!v) continue;
    const auto address = reinterpret_cast<uintptr_t>(v.data);
    if (address % 16 != 0 || v.cols % 8 != 0 || (v.rows > 1 && v.stride % 8 != 0)) return false;
  }
  return true;
}

inline constexpr int kThreads = 256;

/// part.template apply<W>(row, col) on each piece of W neighbours.
template <int W, class Part>
struct EachPiece {
  Part part;
  int64_t rows = 0, cols = 0;  // whole pieces

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t at = (t.block() * t.threads() + t.thread()) * W;
    if (at < rows * cols) part.template apply<W>(at / cols, at % cols);
  }
};

template <class Device, class Part>
void for_each_piece(Device& device, int64_t rows, int64_t cols, bool eights, const Part& part) {
  if (rows * cols == 0) return;
  const int64_t pieces = rows * cols / (eights ? 8 : 1);
  const Launch launch{div_ceil(pieces, int64_t{kThreads}), kThreads, 0};
  if (eights)
    device.launch(launch, EachPiece<8, Part>{part, rows, cols});
  else
    device.launch(launch, EachPiece<1, Part>{part, rows, cols});
}

/// Sums of up to two terms over blocks of kSumRows rows: partial[(term * blocks + block) * cols +
/// c]. part.add(row, col, sums) adds the terms of one element.
inline constexpr int64_t kSumRows = 128;
template <class Part>
struct PartialColumnSums {
  Part part;
  int64_t rows = 0, cols = 0;
  float* partial = nullptr;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t strips = (cols + t.threads() - 1) / t.threads();
    const int64_t blocks = (rows + kSumRows - 1) / kSumRows;
    const int64_t block = t.block() / strips;
    const int64_t col = t.block() % strips * t.threads() + t.thread();
    if (col >= cols) return;
    float sums[2] = {0, 0};
    const int64_t end = block * kSumRows + kSumRows < rows ? block * kSumRows + kSumRows : rows;
    for (int64_t row = block * kSumRows; row < end; ++row) part.add(row, col, sums);
    partial[block * cols + col] = sums[0];
    if (Part::kTerms == 2) partial[(blocks + block) * cols + col] = sums[1];
  }
};

/// to[term][c] += scale * the partial sums, in block order.
struct TotalColumnSums {
  const float* partial = nullptr;
  int64_t blocks = 0, cols = 0;
  float* to[2] = {nullptr, nullptr};  // either may be absent
  float scale = 1;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t col = t.block() * t.threads() + t.thread();
    if (col >= cols) return;
    ISOFLOP_UNROLL for (int term = 0; term < 2; ++term) {
      if (!to[term]) continue;
      float sum = 0;
      for (int64_t block = 0; block < blocks; ++block)
        sum += partial[(term * blocks + block) * cols + col];
      to[term][col] += scale * sum;
    }
  }
};

/// Adds to first and second (may be null) the column sums of the part's terms.
template <class Device, class Part>
void add_column_sums(Device& device,
                     const Part& part,
                     int64_t rows,
                     int64_t cols,
                     float* first,
                     float* second = nullptr,
                     float scale = 1) {
  if (rows * cols == 0) return;
  constexpr int kColumns = 128;
  const int64_t blocks = div_ceil(rows, kSumRows), strips = div_ceil(cols, int64_t{kColumns});
  float* partial = device.template scratch<float>(Part::kTerms * blocks * cols);
  device.launch({blocks * strips, kColumns, 0}, PartialColumnSums<Part>{part, rows, cols, partial});
  device.launch({strips, kColumns, 0},
                TotalColumnSums{partial, blocks, cols, {first, second}, scale});
}

}  // namespace isoflop::gpu
