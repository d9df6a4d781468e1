// Definitions of the matrix products; contracts in ops/matmul.hpp.
#pragma once
#include "ops/matmul.hpp"
#include "ops/reference/scalar.hpp"

namespace isoflop::reference {

template <class S>
void matmul(const Matmul& a) {
  const View w = master_of(a.w);
  for (int64_t r = 0; r < a.y.rows; ++r) {
    const S* x = a.x.row<S>(r);
    S* y = a.y.row<S>(r);
    for (int64_t o = 0; o < a.y.cols; ++o) {
      const S* wo = w.row<S>(o);
      S sum = 0;
      for (int64_t i = 0; i < a.x.cols; ++i) sum += x[i] * wo[i];
      if (a.bias) sum += a.bias.row<S>(0)[o];
      y[o] = (a.add ? a.add.row<S>(r)[o] : S(0)) + S(a.scale) * sum;
    }
  }
}

template <class S>
void matmul_grad_input(const MatmulGradInput& a) {
  const View w = master_of(a.w);
  for (int64_t r = 0; r < a.dx.rows; ++r) {
    const S* dy = a.dy.row<S>(r);
    S* dx = a.dx.row<S>(r);
    for (int64_t i = 0; i < a.dx.cols; ++i) {
      S sum = 0;
      for (int64_t o = 0; o < a.dy.cols; ++o) sum += dy[o] * w.row<S>(o)[i];
      dx[i] = (a.accumulate ? dx[i] : S(0)) + S(a.scale) * sum;
    }
  }
}

template <class S>
void matmul_grad_weight(const MatmulGradWeight& a) {
  for (int64_t o = 0; o < a.dw.rows; ++o) {
    S* dw = a.dw.row<S>(o);
    for (int64_t i = 0; i < a.dw.cols; ++i) {
      S sum = 0;
      for (int64_t r = 0; r < a.x.rows; ++r) sum += a.dy.row<S>(r)[o] * a.x.row<S>(r)[i];
      dw[i] += S(a.scale) * sum;
    }
    if (!a.dbias) continue;
    S sum = 0;
    for (int64_t r = 0; r < a.dy.rows; ++r) sum += a.dy.row<S>(r)[o];
    a.dbias.row<S>(0)[o] += S(a.scale) * sum;
  }
}

template <class S>
void state_product(const StateProduct& p) {
  const int64_t inner = p.transpose_a ? p.a.rows : p.a.cols;
  for (int64_t r = 0; r < p.c.rows; ++r)
    for (int64_t c = 0; c < p.c.cols; ++c) {
      S sum = 0;
      for (int64_t k = 0; k < inner; ++k)
        sum += (p.transpose_a ? p.a.row<S>(k)[r] : p.a.row<S>(r)[k]) *
               (p.transpose_b ? p.b.row<S>(c)[k] : p.b.row<S>(k)[c]);
      S& out = p.c.row<S>(r)[c];
      out = S(p.alpha) * sum + (p.beta == 0 ? S(0) : S(p.beta) * out);
    }
}

}  // namespace isoflop::reference
