// Definition of the rotary embedding; contract in ops/rope.hpp.
#pragma once
#include "ops/reference/scalar.hpp"
#include "ops/rope.hpp"

namespace isoflop::reference {

template <class S>
void rope(const Rope& a) {
  const bool interleaved = a.pairs == RopePairs::interleaved;
  const int64_t half = a.rotary_dim / 2;
  for (int64_t r = 0; r < a.x.rows; ++r) {
    const S* cos = a.cos.row<S>(a.first_position + r % a.tokens);
    const S* sin = a.sin.row<S>(a.first_position + r % a.tokens);
    for (int64_t first = 0; first < a.x.cols; first += a.head_dim) {
      S* head = a.x.row<S>(r) + first;
      for (int64_t j = 0; j < half; ++j) {
        S& u = head[interleaved ? 2 * j : j];
        S& v = head[interleaved ? 2 * j + 1 : j + half];
        const S c = cos[j], s = a.inverse ? -sin[j] : sin[j];
        const S rotated = u * c - v * s;
        v = u * s + v * c;
        u = rotated;
      }
    }
  }
}

}  // namespace isoflop::reference
