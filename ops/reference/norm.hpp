// Definitions of LayerNorm and RMSNorm; contracts in ops/norm.hpp.
//
// With n = (x - mean) inv_std and g = dy * gain the backward of a row is
//   dx = inv_std (g - mean(g) - n mean(g n));   RMSNorm: n = x inv_rms and no mean(g).
#pragma once
#include "ops/norm.hpp"
#include "ops/reference/scalar.hpp"

#include <cmath>

namespace isoflop::reference {

template <class S>
void layernorm_forward(const LayerNormForward& a) {
  const S width = S(static_cast<double>(a.x.cols));
  const S* gain = a.gain.row<S>(0);
  const S* bias = a.bias ? a.bias.row<S>(0) : nullptr;
  for (int64_t r = 0; r < a.x.rows; ++r) {
    const S* x = a.x.row<S>(r);
    S* y = a.y.row<S>(r);
    S mean = 0, variance = 0;
    for (int64_t c = 0; c < a.x.cols; ++c) mean += x[c];
    mean /= width;
    for (int64_t c = 0; c < a.x.cols; ++c) variance += (x[c] - mean) * (x[c] - mean);
    variance /= width;
    const S inv_std = S(1) / std::sqrt(variance + S(a.eps));
    for (int64_t c = 0; c < a.x.cols; ++c)
      y[c] = (x[c] - mean) * inv_std * gain[c] + (bias ? bias[c] : S(0));
    *a.mean.row<S>(r) = mean;
    *a.inv_std.row<S>(r) = inv_std;
  }
}

template <class S>
void layernorm_backward(const LayerNormBackward& a) {
  const S width = S(static_cast<double>(a.x.cols));
  const S* gain = a.gain.row<S>(0);
  S* dgain = a.dgain.row<S>(0);
  S* dbias = a.dbias ? a.dbias.row<S>(0) : nullptr;
  for (int64_t r = 0; r < a.x.rows; ++r) {
    const S* dy = a.dy.row<S>(r);
    const S* x = a.x.row<S>(r);
    S* dx = a.dx_add.row<S>(r);
    const S mean = *a.mean.row<S>(r), inv_std = *a.inv_std.row<S>(r);
    S mean_g = 0, mean_gn = 0;
    for (int64_t c = 0; c < a.x.cols; ++c) {
      const S n = (x[c] - mean) * inv_std;
      mean_g += dy[c] * gain[c];
      mean_gn += dy[c] * gain[c] * n;
      dgain[c] += dy[c] * n;
      if (dbias) dbias[c] += dy[c];
    }
    mean_g /= width;
    mean_gn /= width;
    for (int64_t c = 0; c < a.x.cols; ++c) {
      const S n = (x[c] - mean) * inv_std;
      dx[c] += inv_std * (dy[c] * gain[c] - mean_g - n * mean_gn);
    }
  }
}

template <class S>
void rmsnorm_forward(const RmsNormForward& a) {
  const S* gain = a.gain.row<S>(0);
  for (int64_t r = 0; r < a.x.rows; ++r) {
    const S* x = a.x.row<S>(r);
    S* y = a.y.row<S>(r);
    S mean_square = 0;
    for (int64_t c = 0; c < a.x.cols; ++c) mean_square += x[c] * x[c];
    mean_square /= S(static_cast<double>(a.x.cols));
    const S inv_rms = S(1) / std::sqrt(mean_square + S(a.eps));
    for (int64_t c = 0; c < a.x.cols; ++c) y[c] = x[c] * inv_rms * gain[c];
    *a.inv_rms.row<S>(r) = inv_rms;
  }
}

template <class S>
void rmsnorm_backward(const RmsNormBackward& a) {
  const S* gain = a.gain.row<S>(0);
  S* dgain = a.dgain.row<S>(0);
  for (int64_t r = 0; r < a.x.rows; ++r) {
    const S* dy = a.dy.row<S>(r);
    const S* x = a.x.row<S>(r);
    S* dx = a.dx_add.row<S>(r);
    const S inv_rms = *a.inv_rms.row<S>(r);
    S mean_gn = 0;
    for (int64_t c = 0; c < a.x.cols; ++c) {
      mean_gn += dy[c] * gain[c] * x[c] * inv_rms;
      dgain[c] += dy[c] * x[c] * inv_rms;
    }
    mean_gn /= S(static_cast<double>(a.x.cols));
    for (int64_t c = 0; c < a.x.cols; ++c)
      dx[c] += inv_rms * (dy[c] * gain[c] - x[c] * inv_rms * mean_gn);
  }
}

}  // namespace isoflop::reference
