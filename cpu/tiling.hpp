// How the output of a parallel matrix product is cut.
#pragma once
#include "core/math.hpp"

#include <algorithm>

namespace isoflop::cpu {

// How an output is cut into tiles: by its shape and the inner length only. Measured against the
// untiled product on one thread (N = 512-4096, widths 128-8192), 128 x 384 keeps 92-100 % although
// every call of the library packs its operands anew; 32 x 192 still does, but fewer than 128
// columns do not.
struct Tiling {
  int64_t rows, cols;            // of the output
  int64_t tile_rows, tile_cols;  // of a tile; the last may be smaller

  /// Tiles begin at multiples of row_granule and col_granule, and are the largest of which there
  /// are `enough`. Where the library multiplies, its bits depend on the tiles, so they must not
  /// depend on the threads.
  Tiling(int64_t output_rows,
         int64_t output_cols,
         int64_t inner,
         int64_t row_granule = 8,
         int64_t col_granule = 16,
         int64_t enough = 16)
      : rows(output_rows), cols(output_cols) {
    constexpr int64_t kWorthSplitting = 1600 * 1024;  // multiplications; some 30 us
    constexpr int64_t kSizes[][2] = {{128, 384}, {128, 192}, {64, 192}, {32, 192}};
    int64_t r = 0, c = 0;
    for (const auto& size : kSizes) {
      r = size[0], c = size[1];
      if (div_ceil(rows, r) * div_ceil(cols, c) >= enough ||
          std::min(r, rows) * std::min(c, cols) * inner <= kWorthSplitting)
        break;
    }
    tile_rows = round_up(div_ceil(rows, div_ceil(rows, r)), row_granule);  // even tiles
    tile_cols = round_up(div_ceil(cols, div_ceil(cols, c)), col_granule);
  }
  /// Fewer rows a tile where that gives every one of `threads` as many tiles: of nine, two threads
  /// would have one more round than half. Only where bits do not depend on tiles.
  void even_out(int64_t threads, int64_t row_granule) {
    constexpr int64_t kFewestRows = 64;
    Tiling even = *this;
    while (even.count() % threads != 0 && even.tile_rows - row_granule >= kFewestRows)
      even.tile_rows -= row_granule;
    if (even.count() % threads == 0) *this = even;
  }
  int64_t row_tiles() const { return div_ceil(rows, tile_rows); }
  int64_t count() const { return row_tiles() * div_ceil(cols, tile_cols); }

  struct Tile {
    int64_t row, col, rows, cols;
  };
  /// Down the rows first, so that neighbours share a panel of the weight.
  Tile operator[](int64_t tile) const {
    const int64_t r = tile % row_tiles() * tile_rows, c = tile / row_tiles() * tile_cols;
    return {r, c, std::min(tile_rows, rows - r), std::min(tile_cols, cols - c)};
  }
};

}  // namespace isoflop::cpu
