// Tiles of AMX in software: what the instructions are defined to do, bit for bit (TDPBF16PS of
// Intel's manual), for machines without them.
#pragma once
#include "core/dtype.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace isoflop::test {

class SoftwareTiles {
 public:
  static void begin() { std::memset(tiles_, 0xff, sizeof tiles_); }  // NaN: nothing is zero by luck
  static void end() { begin(); }
  template <int kTile>
  static void zero() {
    std::memset(tiles_[kTile], 0, sizeof tiles_[kTile]);
  }
  template <int kTile>
  static void load(const void* from, int64_t row_bytes) {
    for (int r = 0; r < 16; ++r)
      std::memcpy(tiles_[kTile][r], static_cast<const char*>(from) + r * row_bytes, 64);
  }
  template <int kTile>
  static void store(void* to, int64_t row_bytes) {
    for (int r = 0; r < 16; ++r)
      std::memcpy(static_cast<char*>(to) + r * row_bytes, tiles_[kTile][r], 64);
  }
  static void prefetch(const bf16*) {}
  static void transpose(const bf16* from, int64_t step, bf16* tile) {
    for (int r = 0; r < 16; ++r)
      for (int i = 0; i < 32; ++i) tile[r * 32 + i] = from[i * step + r];
  }
  /// The even and the odd products of a row by a column are summed apart, by fused multiply-adds;
  /// then the two sums together, and that to C. Denormals count as zero, going in and coming out.
  template <int kC, int kA, int kB>
  static void dot() {
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 16; ++n) {
        float even = 0, odd = 0;
        for (int p = 0; p < 16; ++p) {
          even = flushed(std::fma(element(kA, m, 2 * p), element(kB, p, 2 * n), even));
          odd = flushed(std::fma(element(kA, m, 2 * p + 1), element(kB, p, 2 * n + 1), odd));
        }
        float c = 0;
        std::memcpy(&c, tiles_[kC][m] + 4 * n, 4);
        c = flushed(flushed(c) + flushed(even + odd));
        std::memcpy(tiles_[kC][m] + 4 * n, &c, 4);
      }
  }

 private:
  static float flushed(float x) {
    return std::abs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x;
  }
  static float element(int tile, int row, int column) {
    bf16 x;
    std::memcpy(&x, tiles_[tile][row] + 2 * column, 2);
    return flushed(to_float(x));
  }

  static inline unsigned char tiles_[8][16][64];
};

}  // namespace isoflop::test
