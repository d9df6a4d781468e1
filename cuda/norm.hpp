// LayerNorm and RMSNorm; contracts in ops/norm.hpp, derivation in ops/reference/norm.hpp. A warp
// takes a row, so nothing waits for a barrier; RMSNorm is LayerNorm with mean 0 and no mean(g).
#pragma once
#include "cuda/rows.hpp"
#include "ops/norm.hpp"

namespace isoflop::gpu {

inline constexpr int kNormWarps = 4;

/// f(col, piece) over a warp's share of a row, pieces of W.
template <int W, class Thread, class F>
ISOFLOP_KERNEL void for_row(Thread& t, int64_t cols, F&& f) {
  for (int64_t c = (t.thread() % kWarp) * W; c < cols; c += kWarp * W) f(c);
}

template <int W, bool kCentered>
struct NormForward {
  Rows<const bf16> x;
  const float* gain;
  const float* bias;  // may be null
  Rows<bf16> y;
  float* mean;  // null when not centered
  float* inv;
  int64_t rows, cols;
  float eps;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t r = t.block() * kNormWarps + t.thread() / kWarp;
    if (r >= rows) return;
    const float width = static_cast<float>(cols);
    float center = 0;
    if constexpr (kCentered) {
      float sum = 0;
      for_row<W>(t, cols, [&](int64_t c) {
        float v[W];
        load_pack(x.at(r, c), v);
        ISOFLOP_UNROLL for (int i = 0; i < W; ++i) sum += v[i];
      });
      center = warp_sum(t, sum) / width;
    }
    float squares = 0;
    for_row<W>(t, cols, [&](int64_t c) {
      float v[W];
      load_pack(x.at(r, c), v);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) squares += (v[i] - center) * (v[i] - center);
    });
    const float scale = 1 / sqrtf(warp_sum(t, squares) / width + eps);
    for_row<W>(t, cols, [&](int64_t c) {
      float v[W];
      load_pack(x.at(r, c), v);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) {
        v[i] = (v[i] - center) * scale * gain[c + i];
        if (bias) v[i] += bias[c + i];
      }
      store_pack(y.at(r, c), v);
    });
    if (t.thread() % kWarp == 0) {
      if constexpr (kCentered) mean[r] = center;
      inv[r] = scale;
    }
  }
};

template <int W, bool kCentered>
struct NormBackward {
  Rows<const bf16> dy, x;
  const float* gain;
  const float* mean;
  const float* inv;
  Rows<bf16> dx;  // +=
  int64_t rows, cols;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t r = t.block() * kNormWarps + t.thread() / kWarp;
    if (r >= rows) return;
    const float center = kCentered ? mean[r] : 0, scale = inv[r];
    float sum_g = 0, sum_gn = 0;
    for_row<W>(t, cols, [&](int64_t c) {
      float d[W], v[W];
      load_pack(dy.at(r, c), d);
      load_pack(x.at(r, c), v);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) {
        const float g = d[i] * gain[c + i];
        sum_g += g;
        sum_gn += g * (v[i] - center) * scale;
      }
    });
    const float width = static_cast<float>(cols);
    const float mean_g = kCentered ? warp_sum(t, sum_g) / width : 0;
    const float mean_gn = warp_sum(t, sum_gn) / width;
    for_row<W>(t, cols, [&](int64_t c) {
      float d[W], v[W], sum[W];
      load_pack(dy.at(r, c), d);
      load_pack(x.at(r, c), v);
      load_pack<W, bf16>(dx.at(r, c), sum);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) sum[i] +=
          scale * (d[i] * gain[c + i] - mean_g - (v[i] - center) * scale * mean_gn);
      store_pack(dx.at(r, c), sum);
    });
  }
};

/// Terms of the gain's and the bias's gradients.
template <bool kCentered>
struct NormGainPart {
  static constexpr int kTerms = kCentered ? 2 : 1;
  Rows<const bf16> dy, x;
  const float* mean;
  const float* inv;

  ISOFLOP_KERNEL void add(int64_t r, int64_t c, float (&sums)[2]) const {
    const float d = load(dy.at(r, c)), center = kCentered ? mean[r] : 0;
    sums[0] += d * (load(x.at(r, c)) - center) * inv[r];
    if (kCentered) sums[1] += d;
  }
};

template <bool kCentered, class Device, class Args>
void norm_forward(Device& device, const Args& a, View bias, View mean, View inv) {
  const Launch launch{div_ceil(a.x.rows, int64_t{kNormWarps}), kNormWarps * kWarp, 0};
  const auto go = [&]<int W>() {
    device.launch(launch,
                  NormForward<W, kCentered>{rows_of<const bf16>(a.x), a.gain.template as<float>(),
                                            bias ? bias.as<float>() : nullptr, rows_of<bf16>(a.y),
                                            mean ? mean.as<float>() : nullptr, inv.as<float>(),
                                            a.x.rows, a.x.cols, static_cast<float>(a.eps)});
  };
  if (in_eights({a.x, a.y}))
    go.template operator()<8>();
  else
    go.template operator()<1>();
}

template <bool kCentered, class Device, class Args>
void norm_backward(Device& device, const Args& a, View mean, View inv, View dbias) {
  const float* center = mean ? mean.as<float>() : nullptr;
  const Launch launch{div_ceil(a.x.rows, int64_t{kNormWarps}), kNormWarps * kWarp, 0};
  const auto go = [&]<int W>() {
    device.launch(launch,
                  NormBackward<W, kCentered>{rows_of<const bf16>(a.dy), rows_of<const bf16>(a.x),
                                             a.gain.template as<float>(), center, inv.as<float>(),
                                             rows_of<bf16>(a.dx_add), a.x.rows, a.x.cols});
  };
  if (in_eights({a.dy, a.x, a.dx_add}))
    go.template operator()<8>();
  else
    go.template operator()<1>();
  add_column_sums(device,
                  NormGainPart<kCentered>{rows_of<const bf16>(a.dy), rows_of<const bf16>(a.x),
                                          center, inv.as<float>()},
                  a.x.rows, a.x.cols, a.dgain.template as<float>(),
                  dbias ? dbias.as<float>() : nullptr);
}

}  // namespace isoflop::gpu
