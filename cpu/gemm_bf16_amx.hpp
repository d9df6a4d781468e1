// The bf16 product on tiles of AMX, over an interface of a few instructions, so that everything but
// them is tested on any machine. A tile is 16 rows of 64 bytes: A 16 rows by 16 pairs, B 16 pairs
// by 16 columns (as it lies in a panel), C 16 by 16 fp32.
//
// 32 rows of A over 512 of the inner length meet all panels of B before the next ones. They are
// read where they lie; what is transposed, or no whole tile, is gathered first into tiles that lie
// one behind the other, padded with zeros. Four tiles hold sums, two A, two B.
#pragma once
#include "cpu/gemm_bf16.hpp"

#include <algorithm>
#include <array>
#include <type_traits>

namespace isoflop::cpu {

enum class Amx {
  absent,   // the processor has none
  refused,  // it has, but the system does not let this process use it
  granted,
};
/// Asks the system for the tiles, once per process.
Amx amx_state();

void gemm_bf16_amx(const GemmBf16& product);

constexpr int64_t kTileRows = 16, kTilePairs = 16;
constexpr int64_t kTileElements = kTileRows * 2 * kTilePairs;  // of bf16: 1 KB
constexpr int64_t kAmxRows = 2 * kTileRows, kAmxCols = 2 * kTileRows, kAmxInner = 512;
static_assert(kPanel == kTileRows && kAmxInner % (2 * kTilePairs) == 0);

/// A whole tile of A, tile[r][i] = from[i * step + r], out of A^T. Needs AVX-512.
void transpose_tile(const bf16* from, int64_t step, bf16* tile);

/// `Tiles` has, for tile numbers known when compiled:
///   zero<t>(), load<t>(from, bytes from row to row), store<t>(to, bytes),
///   dot<c, a, b>():  C += A B as TDPBF16PS does it,
/// prefetch(from), a tile of B that will be loaded, transpose(from, step, tile) as transpose_tile,
/// and begin() and end() around a product.
template <class Tiles>
class AmxProduct {
 public:
  explicit AmxProduct(const GemmBf16& product) : g_(product) {}

  void run() {
    Tiles::begin();
    for (int64_t k = 0; k < std::max<int64_t>(g_.k, 1); k += kAmxInner) {
      const int64_t inner = std::min(kAmxInner, g_.k - k);
      steps_ = div_ceil(inner, 2 * kTilePairs);
      add_ = g_.accumulate || k > 0;
      for (int64_t row = 0; row < g_.m; row += kAmxRows) {
        const int64_t rows = std::min(kAmxRows, g_.m - row);
        take_rows(row, rows, k, inner);
        for (int64_t column = 0; column < g_.n; column += kAmxCols)
          multiply(row, rows, column, std::min(kAmxCols, g_.n - column), k, inner);
      }
    }
    Tiles::end();
  }

 private:
  static constexpr int64_t kPairBytes = 2 * sizeof(bf16);
  static constexpr int64_t kTileRowBytes = kTilePairs * kPairBytes;  // of A gathered, of B and of C

  /// Where the tiles of A lie: 16 rows, one tile after the other along the inner length.
  struct Left {
    const bf16* at = nullptr;
    int64_t row_bytes = 0, next = 0;  // next: elements from a tile to the next
  };

  void take_rows(int64_t row, int64_t rows, int64_t k, int64_t inner) {
    // Rows a multiple of a page apart would take each other's place in the first-level cache.
    const bool in_place = !g_.transposed_a && rows == kAmxRows && inner % (2 * kTilePairs) == 0 &&
                          g_.lda * int64_t{sizeof(bf16)} % 4096 != 0;
    for (int64_t half = 0; half * kTileRows < rows; ++half) {
      const int64_t first = row + half * kTileRows;
      auto& left = left_[static_cast<size_t>(half)];
      if (in_place) {
        left = {g_.a + first * g_.lda + k, g_.lda * int64_t{sizeof(bf16)}, 2 * kTilePairs};
      } else {
        bf16* tiles = a_[static_cast<size_t>(half)].data();
        gather(first, std::min(row + rows - first, kTileRows), k, inner, tiles);
        left = {tiles, kTileRowBytes, kTileElements};
      }
    }
  }
  /// Up to 16 rows of A over `inner` of the inner length, as tiles padded with zeros.
  void gather(int64_t row, int64_t rows, int64_t k, int64_t inner, bf16* to) {
    for (int64_t step = 0; step < steps_; ++step, to += kTileElements) {
      const int64_t first = step * 2 * kTilePairs, count = std::min(2 * kTilePairs, inner - first);
      const bool whole = rows == kTileRows && count == 2 * kTilePairs;
      if (!whole) std::fill_n(to, kTileElements, bf16());
      if (!g_.transposed_a) {
        for (int64_t r = 0; r < rows; ++r)
          std::copy_n(g_.a + (row + r) * g_.lda + k + first, count, to + r * 2 * kTilePairs);
        continue;
      }
      const bf16* from = g_.a + (k + first) * g_.lda + row;
      if (whole) {
        Tiles::transpose(from, g_.lda, to);
        continue;
      }
      for (int64_t i = 0; i < count; ++i)
        for (int64_t r = 0; r < rows; ++r) to[r * 2 * kTilePairs + i] = from[i * g_.lda + r];
    }
  }

  void multiply(int64_t row, int64_t rows, int64_t column, int64_t cols, int64_t k, int64_t inner) {
    const int64_t stride = panel_stride(g_.b_inner ? g_.b_inner : g_.k);
    const bf16* panel = g_.b + column / kPanel * stride + k * kPanel;
    float* c = g_.c + row * g_.ldc + column;
    load_sums(c, rows, cols);
    const int64_t whole = inner / (2 * kTilePairs);
    for (int64_t step = 0; step < whole; ++step) {
      const bf16* b = panel + step * kTileElements;
      Tiles::prefetch(b + kTileElements);
      if (cols > kTileRows) Tiles::prefetch(b + stride + kTileElements);
      add_products(step, b, b + stride, rows, cols);
    }
    if (whole < steps_) {
      const int64_t rest = div_ceil(inner, 2) * 2 * kPanel - whole * kTileElements;
      for (int64_t p = 0; p * kTileRows < cols; ++p) {
        const auto to = b_.begin() + p * kTileElements;
        const bf16* from = panel + p * stride + whole * kTileElements;
        std::fill(std::copy_n(from, rest, to), to + kTileElements, bf16());
      }
      add_products(whole, b_.data(), b_.data() + kTileElements, rows, cols);
    }
    store_sums(c, rows, cols);
  }

  void add_products(int64_t step, const bf16* b0, const bf16* b1, int64_t rows, int64_t cols) {
    const auto load_a = [&](auto half) {
      constexpr size_t kHalf = decltype(half)::value;
      const Left& left = left_[kHalf];
      Tiles::template load<4 + kHalf>(left.at + step * left.next, left.row_bytes);
    };
    load_a(std::integral_constant<size_t, 0>());
    Tiles::template load<6>(b0, kTileRowBytes);
    Tiles::template dot<0, 4, 6>();
    if (rows > kTileRows) {
      load_a(std::integral_constant<size_t, 1>());
      Tiles::template dot<2, 5, 6>();
    }
    if (cols <= kTileRows) return;
    Tiles::template load<7>(b1, kTileRowBytes);
    Tiles::template dot<1, 4, 7>();
    if (rows > kTileRows) Tiles::template dot<3, 5, 7>();
  }

  /// f(tile number, C from there on, rows, columns) of the tiles that are in use.
  template <class F>
  static void for_tiles(float* c, int64_t ldc, int64_t rows, int64_t cols, F&& f) {
    const auto half = [&](auto index, float* from, int64_t count) {
      constexpr int kFirst = 2 * decltype(index)::value;
      f(std::integral_constant<int, kFirst>(), from, count, std::min(kTileRows, cols));
      if (cols > kTileRows)
        f(std::integral_constant<int, kFirst + 1>(), from + kTileRows, count, cols - kTileRows);
    };
    half(std::integral_constant<int, 0>(), c, std::min(kTileRows, rows));
    if (rows > kTileRows)
      half(std::integral_constant<int, 1>(), c + kTileRows * ldc, rows - kTileRows);
  }
  void load_sums(float* c, int64_t rows, int64_t cols) {
    for_tiles(c, g_.ldc, rows, cols, [&](auto tile, const float* from, int64_t r, int64_t n) {
      constexpr int kTile = decltype(tile)::value;
      if (!add_) return Tiles::template zero<kTile>();
      if (r == kTileRows && n == kTileRows)
        return Tiles::template load<kTile>(from, g_.ldc * int64_t{sizeof(float)});
      c_.fill(0);
      for (int64_t i = 0; i < r; ++i) std::copy_n(from + i * g_.ldc, n, c_.data() + i * kTileRows);
      Tiles::template load<kTile>(c_.data(), kTileRowBytes);
    });
  }
  void store_sums(float* c, int64_t rows, int64_t cols) {
    for_tiles(c, g_.ldc, rows, cols, [&](auto tile, float* to, int64_t r, int64_t n) {
      constexpr int kTile = decltype(tile)::value;
      if (r == kTileRows && n == kTileRows)
        return Tiles::template store<kTile>(to, g_.ldc * int64_t{sizeof(float)});
      Tiles::template store<kTile>(c_.data(), kTileRowBytes);
      for (int64_t i = 0; i < r; ++i) std::copy_n(c_.data() + i * kTileRows, n, to + i * g_.ldc);
    });
  }

  const GemmBf16& g_;
  int64_t steps_ = 0;
  bool add_ = false;
  std::array<Left, 2> left_;
  alignas(64) std::array<std::array<bf16, kTileRows * kAmxInner>, 2> a_;
  alignas(64) std::array<bf16, 2 * kTileElements> b_;       // the end of the inner length
  alignas(64) std::array<float, kTileRows * kTileRows> c_;  // a tile at the edge
};

}  // namespace isoflop::cpu
