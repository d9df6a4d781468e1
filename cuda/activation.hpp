// GELU, SwiGLU, the logits' soft cap, and plain copies and sums; contracts in ops/activation.hpp,
// ops/loss.hpp and ops/backend.hpp.
#pragma once
#include "cuda/rows.hpp"
#include "ops/activation.hpp"
#include "ops/loss.hpp"

namespace isoflop::gpu {

inline constexpr float kGeluSlope = 0.79788456080286536f;  // sqrt(2 / pi)
inline constexpr float kGeluCubic = 0.044715f;

/// Phi(x), with the digits of the lower tail.
ISOFLOP_KERNEL float normal_cdf(float x) {
  return 0.5f * erfcf(-0.70710678118654752f * x);
}
ISOFLOP_KERNEL float normal_density(float x) {
  return 0.39894228040143268f * expf(-0.5f * x * x);
}
ISOFLOP_KERNEL float gelu(float x, Gelu kind) {
  if (kind == Gelu::erf) return x * normal_cdf(x);
  return 0.5f * x * (1 + tanhf(kGeluSlope * (x + kGeluCubic * x * x * x)));
}
ISOFLOP_KERNEL float gelu_derivative(float x, Gelu kind) {
  if (kind == Gelu::erf) return normal_cdf(x) + x * normal_density(x);
  const float tanh = tanhf(kGeluSlope * (x + kGeluCubic * x * x * x));
  const float slope = kGeluSlope * (1 + 3 * kGeluCubic * x * x);
  return 0.5f * (1 + tanh) + 0.5f * x * (1 - tanh * tanh) * slope;
}
ISOFLOP_KERNEL float sigmoid(float x) {
  return 1 / (1 + expf(-x));
}

struct GeluForwardPart {
  Rows<const bf16> x;
  Rows<bf16> y;
  Gelu kind;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float v[W];
    load_pack(x.at(r, c), v);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] = gelu(v[i], kind);
    store_pack(y.at(r, c), v);
  }
};
struct GeluBackwardPart {
  Rows<const bf16> dy, x;
  Rows<bf16> dx;
  Gelu kind;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float d[W], v[W];
    load_pack(dy.at(r, c), d);
    load_pack(x.at(r, c), v);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) d[i] *= gelu_derivative(v[i], kind);
    store_pack(dx.at(r, c), d);
  }
};
struct SwigluForwardPart {
  Rows<const bf16> gate, up;
  Rows<bf16> y;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float g[W], u[W];
    load_pack(gate.at(r, c), g);
    load_pack(up.at(r, c), u);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) g[i] = g[i] * sigmoid(g[i]) * u[i];
    store_pack(y.at(r, c), g);
  }
};
struct SwigluBackwardPart {
  Rows<const bf16> dy, gate, up;
  Rows<bf16> dgate, dup;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float d[W], g[W], u[W];
    load_pack(dy.at(r, c), d);
    load_pack(gate.at(r, c), g);
    load_pack(up.at(r, c), u);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) {
      const float s = sigmoid(g[i]);
      u[i] *= d[i] * s * (1 + g[i] * (1 - s));
      d[i] *= g[i] * s;
    }
    store_pack(dgate.at(r, c), u);
    store_pack(dup.at(r, c), d);
  }
};
struct SoftCapPart {
  Rows<bf16> x;
  float cap;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float v[W];
    load_pack(x.at(r, c), v);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] = cap * tanhf(v[i] / cap);
    store_pack(x.at(r, c), v);
  }
};
/// to = scale * from, between types; or to += from.
template <class From, class To>
struct CopyPart {
  Rows<const From> from;
  Rows<To> to;
  bool add;
  float scale;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float v[W];
    load_pack(from.at(r, c), v);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] *= scale;
    if (add) {
      float sum[W];
      load_pack<W, To>(to.at(r, c), sum);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] += sum[i];
    }
    store_pack(to.at(r, c), v);
  }
};
template <class T>
struct ZeroPart {
  Rows<T> x;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    const float zero[W] = {};
    store_pack(x.at(r, c), zero);
  }
};

template <class Device>
void gelu_forward(Device& device, const GeluForward& a) {
  for_each_piece(device, a.x.rows, a.x.cols, in_eights({a.x, a.y}),
                 GeluForwardPart{rows_of<const bf16>(a.x), rows_of<bf16>(a.y), a.kind});
}
template <class Device>
void gelu_backward(Device& device, const GeluBackward& a) {
  for_each_piece(device, a.x.rows, a.x.cols, in_eights({a.dy, a.x, a.dx}),
                 GeluBackwardPart{rows_of<const bf16>(a.dy), rows_of<const bf16>(a.x),
                                  rows_of<bf16>(a.dx), a.kind});
}
template <class Device>
void swiglu_forward(Device& device, const SwigluForward& a) {
  for_each_piece(device, a.y.rows, a.y.cols, in_eights({a.gate, a.up, a.y}),
                 SwigluForwardPart{rows_of<const bf16>(a.gate), rows_of<const bf16>(a.up),
                                   rows_of<bf16>(a.y)});
}
template <class Device>
void swiglu_backward(Device& device, const SwigluBackward& a) {
  for_each_piece(
      device, a.dy.rows, a.dy.cols, in_eights({a.dy, a.gate, a.up, a.dgate, a.dup}),
      SwigluBackwardPart{rows_of<const bf16>(a.dy), rows_of<const bf16>(a.gate),
                         rows_of<const bf16>(a.up), rows_of<bf16>(a.dgate), rows_of<bf16>(a.dup)});
}
template <class Device>
void softcap(Device& device, const SoftCap& a) {
  for_each_piece(device, a.x.rows, a.x.cols, in_eights({a.x}),
                 SoftCapPart{rows_of<bf16>(a.x), static_cast<float>(a.cap)});
}
template <class From, class To, class Device>
void convert(Device& device, View from, View to, bool add = false, float scale = 1) {
  // Flat where both are, so that a long row of odd length is still cut into eights.
  if (from.contiguous() && to.contiguous())
    for (View* v : {&from, &to}) *v = make_view(v->data, v->dtype, 1, v->size());
  for_each_piece(device, from.rows, from.cols, in_eights({from, to}),
                 CopyPart<From, To>{rows_of<const From>(from), rows_of<To>(to), add, scale});
}

}  // namespace isoflop::gpu
