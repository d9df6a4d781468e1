// Definitions of AdamW, of a combination and of the sum of squares; contracts in ops/optimizer.hpp
// and ops/backend.hpp.
#pragma once
#include "ops/optimizer.hpp"
#include "ops/reference/scalar.hpp"

#include <cmath>

namespace isoflop::reference {

template <class S>
void adamw(const AdamW& a) {
  S* p = a.p.as<S>();
  const S* g = a.g.as<S>();
  S* m = a.m.as<S>();
  S* v = a.v.as<S>();
  for (int64_t i = 0; i < a.p.size(); ++i) {
    const S gi = g[i] * S(a.grad_scale);
    m[i] = S(a.beta1) * m[i] + S(1 - a.beta1) * gi;
    v[i] = S(a.beta2) * v[i] + S(1 - a.beta2) * gi * gi;
    const S step = m[i] / S(a.correction1) / (std::sqrt(v[i] / S(a.correction2)) + S(a.eps));
    p[i] = p[i] - S(a.lr * a.weight_decay) * p[i] - S(a.lr) * step;
  }
}

template <class S>
void weighted_sum(const WeightedSum& c) {
  const S* x = c.x.as<S>();
  S* y = c.y.as<S>();
  for (int64_t i = 0; i < c.y.size(); ++i) y[i] = S(c.a) * x[i] + (c.b == 0 ? S(0) : S(c.b) * y[i]);
}

/// Of the real parts: a norm is no analytic function, and it is only ever compared.
template <class S>
double sum_squares(View x) {
  constexpr int64_t kChunk = 4096;
  double total = 0, chunk = 0;
  int64_t in_chunk = 0;
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < x.cols; ++c) {
      const double value = real_part(x.row<S>(r)[c]);
      chunk += value * value;
      if (++in_chunk < kChunk) continue;
      total += chunk;
      chunk = 0;
      in_chunk = 0;
    }
  return total + chunk;
}

}  // namespace isoflop::reference
