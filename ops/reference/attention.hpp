// Definition of causal attention, one query of one head at a time; contract in ops/attention.hpp.
//
// With p_j = exp(scale q.k_j - lse) the backward is (Dao et al. 2022, appendix B)
//   dv_j += p_j dout;  ds_j = p_j (dout.v_j - dout.out);  dq = scale sum_j ds_j k_j;  dk_j += scale
//   ds_j q.
#pragma once
#include "ops/attention.hpp"
#include "ops/reference/scalar.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace isoflop::reference {

/// The rows and columns that query i of sequence b works on in head h.
struct AttentionPlace {
  AttentionPlace(const AttentionShape& s, FirstKeys first_keys, int64_t b, int64_t i, int64_t h)
      : query(b * s.queries + i),
        start(first_keys.empty() ? 0 : first_keys[static_cast<size_t>(query)]),
        first_key(b * s.key_stride()),
        visible(s.keys - s.queries + i + 1),
        column(h * s.head_dim),
        kv_column(h / (s.heads / s.kv_heads) * s.head_dim) {}

  int64_t query, start, first_key, visible;  // key j is row first_key + j, start <= j < visible
  int64_t column, kv_column;
};

template <class S>
S dot(const S* a, const S* b, int64_t n) {
  S sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class Body>
void for_each_query(const AttentionShape& s, FirstKeys first_keys, Body body) {
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t i = 0; i < s.queries; ++i)
      for (int64_t h = 0; h < s.heads; ++h) body(AttentionPlace(s, first_keys, b, i, h), h);
}

template <class S>
void attention_forward(const AttentionForward& a) {
  const int64_t n = a.shape.head_dim;
  std::vector<S> p(static_cast<size_t>(a.shape.keys));
  for_each_query(a.shape, a.first_keys, [&](const AttentionPlace& at, int64_t h) {
    const S* q = a.q.row<S>(at.query) + at.column;
    S* out = a.out.row<S>(at.query) + at.column;
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t j = at.start; j < at.visible; ++j) {
      p[j] = S(a.shape.scale) * dot(q, a.k.row<S>(at.first_key + j) + at.kv_column, n);
      max = std::max(max, real_part(p[j]));
    }
    S sum = 0;
    for (int64_t j = at.start; j < at.visible; ++j) sum += p[j] = std::exp(p[j] - S(max));
    std::fill_n(out, n, S(0));
    for (int64_t j = at.start; j < at.visible; ++j) {
      const S* v = a.v.row<S>(at.first_key + j) + at.kv_column;
      for (int64_t c = 0; c < n; ++c) out[c] += p[j] / sum * v[c];
    }
    if (a.lse) a.lse.row<S>(at.query)[h] = S(max) + std::log(sum);
  });
}

template <class S>
void attention_backward(const AttentionBackward& a) {
  const int64_t n = a.shape.head_dim;
  const S scale = S(a.shape.scale);
  for (int64_t r = 0; r < a.dk.rows; ++r) {
    std::fill_n(a.dq.row<S>(r), a.dq.cols, S(0));
    std::fill_n(a.dk.row<S>(r), a.dk.cols, S(0));
    std::fill_n(a.dv.row<S>(r), a.dv.cols, S(0));
  }
  for_each_query(a.shape, a.first_keys, [&](const AttentionPlace& at, int64_t h) {
    const S* q = a.q.row<S>(at.query) + at.column;
    const S* dout = a.dout.row<S>(at.query) + at.column;
    S* dq = a.dq.row<S>(at.query) + at.column;
    const S lse = a.lse.row<S>(at.query)[h];
    const S dout_out = dot(dout, a.out.row<S>(at.query) + at.column, n);
    for (int64_t j = at.start; j < at.visible; ++j) {
      const int64_t key = at.first_key + j;
      const S* k = a.k.row<S>(key) + at.kv_column;
      const S* v = a.v.row<S>(key) + at.kv_column;
      S* dk = a.dk.row<S>(key) + at.kv_column;
      S* dv = a.dv.row<S>(key) + at.kv_column;
      const S p = std::exp(scale * dot(q, k, n) - lse);
      const S ds = p * (dot(dout, v, n) - dout_out);
      for (int64_t c = 0; c < n; ++c) {
        dv[c] += p * dout[c];
        dq[c] += scale * ds * k[c];
        dk[c] += scale * ds * q[c];
      }
    }
  });
}

}  // namespace isoflop::reference
