// Definitions of AdamW, of a combination and of the sum of squares; contracts in ops/optimizer.hpp
// and ops/backend.hpp.
#pragma once
#include "core/rng.hpp"
#include "ops/optimizer.hpp"
#include "ops/reference/scalar.hpp"

#include <cmath>

namespace isoflop::reference {

template <class S>
S moment(const View& view, int64_t i) {
  if (view.dtype == DType::bf16) return S(to_float(view.as<bf16>()[i]));
  return view.as<S>()[i];
}
template <class S>
void set_moment(const View& view, int64_t i, S value, uint32_t random) {
  if (view.dtype == DType::bf16)
    view.as<bf16>()[i] = to_bf16_at_random(static_cast<float>(real_part(value)), random);
  else
    view.as<S>()[i] = value;
}

inline uint32_t word_of(const RandomRounding& at, int64_t i) {
  const uint64_t counter = at.counter + static_cast<uint64_t>(i / 4);
  return philox(at.seed, at.stream, counter)[static_cast<size_t>(i % 4)];
}

template <class S>
void adamw(const AdamW& a) {
  S* p = a.p.as<S>();
  const S* g = a.g.as<S>();
  for (int64_t i = 0; i < a.p.size(); ++i) {
    const S gi = g[i] * S(a.grad_scale);
    const S m = S(a.beta1) * moment<S>(a.m, i) + S(1 - a.beta1) * gi;
    const S v = S(a.beta2) * moment<S>(a.v, i) + S(1 - a.beta2) * gi * gi;
    const S step = m / S(a.correction1) / (std::sqrt(v / S(a.correction2)) + S(a.eps));
    p[i] = p[i] - S(a.lr * a.weight_decay) * p[i] - S(a.lr) * step;
    const uint32_t random = a.m.dtype == DType::bf16 ? word_of(a.rounding, i) : 0;
    set_moment(a.m, i, m, random & 0xffffu);
    set_moment(a.v, i, v, random >> 16);
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
