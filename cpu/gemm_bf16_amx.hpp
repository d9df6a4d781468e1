// The bf16 product on tiles of AMX, over an interface of five instructions, so that everything but
// them is tested on any machine. A tile is 16 rows of 64 bytes: A 16 rows by 16 pairs, B 16 pairs
// by 16 columns (as it lies in a panel), C 16 by 16 fp32.
//
// A is gathered per 32 rows and 384 of the inner length into tiles that lie one behind the other,
// padded with zeros, and then meets all panels of B. Six tiles hold sums, one each an A and a B.
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
constexpr int64_t kAmxRows = 2 * kTileRows, kAmxInner = 384;
static_assert(kPanel == 3 * kTileRows && kAmxInner % (2 * kTilePairs) == 0);

/// 16 pairs at each of from, from + step, ... become the columns of an A tile.
void transpose_pairs(const bf16* from, int64_t step, bf16* to);

/// `Tiles` has, for tile numbers known when compiled:
///   zero<t>(), load<t>(from, bytes from row to row), store<t>(to, bytes),
///   dot<c, a, b>():  C += A B as TDPBF16PS does it,
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
        gather(row, std::min(rows, kTileRows), k, inner, a_[0].data());
        if (rows > kTileRows) gather(row + kTileRows, rows - kTileRows, k, inner, a_[1].data());
        for (int64_t column = 0; column < g_.n; column += kPanel)
          multiply(row, rows, column, std::min(kPanel, g_.n - column), k, inner);
      }
    }
    Tiles::end();
  }

 private:
  static constexpr int64_t kPairBytes = 2 * sizeof(bf16);
  static constexpr int64_t kARowBytes = kTilePairs * kPairBytes;  // also a row of C
  static constexpr int64_t kBRowBytes = kPanel * kPairBytes;

  /// Up to 16 rows of A over `inner` of the inner length, as tiles.
  void gather(int64_t row, int64_t rows, int64_t k, int64_t inner, bf16* to) {
    for (int64_t step = 0; step < steps_; ++step, to += kTileElements) {
      const int64_t first = step * 2 * kTilePairs, count = std::min(2 * kTilePairs, inner - first);
      if (g_.packed_a)
        gather_packed(row, rows, k + first, count, to);
      else
        gather_rows(g_.a + row * g_.lda + k + first, rows, count, to);
    }
  }
  void gather_rows(const bf16* from, int64_t rows, int64_t count, bf16* to) const {
    if (rows < kTileRows || count < 2 * kTilePairs) std::fill_n(to, kTileElements, bf16());
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(from + r * g_.lda, count, to + r * 2 * kTilePairs);
  }
  /// Panels hold whole rows of pairs, zeros where there is no element.
  void gather_packed(int64_t row, int64_t rows, int64_t k, int64_t count, bf16* to) const {
    const int64_t pairs = div_ceil(count, 2);
    const bf16* from = g_.a + row / kPanel * panel_stride(g_.k) + row % kPanel * 2 + k * kPanel;
    if (rows == kTileRows && pairs == kTilePairs) return transpose_pairs(from, 2 * kPanel, to);
    std::fill_n(to, kTileElements, bf16());
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t p = 0; p < pairs; ++p)
        std::copy_n(from + p * 2 * kPanel + 2 * r, 2, to + (r * kTilePairs + p) * 2);
  }

  void multiply(int64_t row, int64_t rows, int64_t column, int64_t cols, int64_t k, int64_t inner) {
    const int64_t stride = panel_stride(g_.b_inner ? g_.b_inner : g_.k);
    const bf16* panel = g_.b + column / kPanel * stride + k * kPanel;
    float* c = g_.c + row * g_.ldc + column;
    load_sums(c, rows, cols);
    const int64_t whole = inner / (2 * kTilePairs);
    for (int64_t step = 0; step < whole; ++step)
      add_products(step, panel + step * kTilePairs * 2 * kPanel, rows, cols);
    if (whole < steps_) {
      const int64_t first = whole * kTilePairs;
      const int64_t pairs = div_ceil(inner, 2) - first;
      const bf16* rest = panel + first * 2 * kPanel;
      std::fill(std::copy_n(rest, pairs * 2 * kPanel, b_.begin()), b_.end(), bf16());
      add_products(whole, b_.data(), rows, cols);
    }
    store_sums(c, rows, cols);
  }

  void add_products(int64_t step, const bf16* b, int64_t rows, int64_t cols) {
    add_products_of<0>(a_[0].data() + step * kTileElements, b, cols);
    if (rows > kTileRows) add_products_of<1>(a_[1].data() + step * kTileElements, b, cols);
  }
  template <int kHalf>
  void add_products_of(const bf16* a, const bf16* b, int64_t cols) {
    Tiles::template load<6>(a, kARowBytes);
    Tiles::template load<7>(b, kBRowBytes);
    Tiles::template dot<3 * kHalf, 6, 7>();
    if (cols <= kTileRows) return;
    Tiles::template load<7>(b + 2 * kTileRows, kBRowBytes);
    Tiles::template dot<3 * kHalf + 1, 6, 7>();
    if (cols <= 2 * kTileRows) return;
    Tiles::template load<7>(b + 4 * kTileRows, kBRowBytes);
    Tiles::template dot<3 * kHalf + 2, 6, 7>();
  }

  /// f(tile number, C from there on, rows, columns) of the tiles that are in use.
  template <class F>
  static void for_tiles(float* c, int64_t ldc, int64_t rows, int64_t cols, F&& f) {
    const auto half = [&](auto index, float* from, int64_t count) {
      constexpr int kFirst = 3 * decltype(index)::value;
      f(std::integral_constant<int, kFirst>(), from, count, std::min(kTileRows, cols));
      if (cols > kTileRows)
        f(std::integral_constant<int, kFirst + 1>(), from + kTileRows, count,
          std::min(kTileRows, cols - kTileRows));
      if (cols > 2 * kTileRows)
        f(std::integral_constant<int, kFirst + 2>(), from + 2 * kTileRows, count,
          cols - 2 * kTileRows);
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
      Tiles::template load<kTile>(c_.data(), kARowBytes);
    });
  }
  void store_sums(float* c, int64_t rows, int64_t cols) {
    for_tiles(c, g_.ldc, rows, cols, [&](auto tile, float* to, int64_t r, int64_t n) {
      constexpr int kTile = decltype(tile)::value;
      if (r == kTileRows && n == kTileRows)
        return Tiles::template store<kTile>(to, g_.ldc * int64_t{sizeof(float)});
      Tiles::template store<kTile>(c_.data(), kARowBytes);
      for (int64_t i = 0; i < r; ++i) std::copy_n(c_.data() + i * kTileRows, n, to + i * g_.ldc);
    });
  }

  const GemmBf16& g_;
  int64_t steps_ = 0;
  bool add_ = false;
  alignas(64) std::array<std::array<bf16, kAmxRows / 2 * kAmxInner>, 2> a_;
  alignas(64) std::array<bf16, kTilePairs * 2 * kPanel> b_;  // the end of the inner length
  alignas(64) std::array<float, kTileRows * kTileRows> c_;   // a tile at the edge
};

}  // namespace isoflop::cpu
