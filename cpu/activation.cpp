#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/activation.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/math-inl.h"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

// The tanh form through the logistic function: (1 + tanh u) / 2 = sigmoid(2u), where
// u = sqrt(2/pi) (x + 0.044715 x^3).
constexpr float kTwiceSlope = 1.5957691216f;  // 2 sqrt(2/pi)
constexpr float kCubic = 0.044715f;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh_gate(D d, V x, V square) {
  const V inner = hn::MulAdd(square, hn::Set(d, kTwiceSlope * kCubic), hn::Set(d, kTwiceSlope));
  return sigmoid(d, hn::Mul(x, inner));
}

template <class T>
void gelu_rows_of(const GeluForward& op, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const T* x = op.x.row<T>(r);
    T* y = op.y.row<T>(r);
    if (op.kind == Gelu::tanh) {
      for_each(op.x.cols, [&](auto d, int64_t i) HWY_ATTR {
        const auto v = load(d, x + i);
        store(hn::Mul(v, tanh_gate(d, v, hn::Mul(v, v))), d, y + i);
      });
    } else {
      for_each(op.x.cols, [&](auto d, int64_t i) HWY_ATTR {
        const auto v = load(d, x + i);
        auto density = v, distribution = v;
        normal(d, v, density, distribution);
        store(hn::Mul(v, distribution), d, y + i);
      });
    }
  }
}
void gelu_rows(const GeluForward& op, int64_t first, int64_t last) {
  by_type(op.x.dtype, [&](auto zero) HWY_ATTR { gelu_rows_of<decltype(zero)>(op, first, last); });
}

template <class T>
void gelu_backward_rows_of(const GeluBackward& op, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const T *x = op.x.row<T>(r), *dy = op.dy.row<T>(r);
    T* dx = op.dx.row<T>(r);
    if (op.kind == Gelu::tanh) {
      for_each(op.x.cols, [&](auto d, int64_t i) HWY_ATTR {
        const auto v = load(d, x + i);
        const auto square = hn::Mul(v, v), gate = tanh_gate(d, v, square);
        // d(x gate)/dx = gate + x gate (1 - gate) 2u'
        const auto slope =
            hn::MulAdd(square, hn::Set(d, 3 * kTwiceSlope * kCubic), hn::Set(d, kTwiceSlope));
        const auto rest = hn::Mul(hn::Mul(v, slope), hn::NegMulAdd(gate, gate, gate));
        store(hn::Mul(load(d, dy + i), hn::Add(gate, rest)), d, dx + i);
      });
    } else {
      for_each(op.x.cols, [&](auto d, int64_t i) HWY_ATTR {
        const auto v = load(d, x + i);
        auto density = v, distribution = v;
        normal(d, v, density, distribution);
        const auto slope = hn::MulAdd(v, density, distribution);
        store(hn::Mul(load(d, dy + i), slope), d, dx + i);
      });
    }
  }
}
void gelu_backward_rows(const GeluBackward& op, int64_t first, int64_t last) {
  by_type(op.x.dtype,
          [&](auto zero) HWY_ATTR { gelu_backward_rows_of<decltype(zero)>(op, first, last); });
}

template <class T>
void swiglu_rows_of(const SwigluForward& op, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const T *gate = op.gate.row<T>(r), *up = op.up.row<T>(r);
    T* y = op.y.row<T>(r);
    for_each(op.y.cols, [&](auto d, int64_t i) HWY_ATTR {
      const auto g = load(d, gate + i);
      const auto silu = hn::Mul(g, sigmoid(d, g));
      store(hn::Mul(silu, load(d, up + i)), d, y + i);
    });
  }
}
void swiglu_rows(const SwigluForward& op, int64_t first, int64_t last) {
  by_type(op.y.dtype, [&](auto zero) HWY_ATTR { swiglu_rows_of<decltype(zero)>(op, first, last); });
}

template <class T>
void swiglu_backward_rows_of(const SwigluBackward& op, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const T *gate = op.gate.row<T>(r), *up = op.up.row<T>(r), *dy = op.dy.row<T>(r);
    T *dgate = op.dgate.row<T>(r), *dup = op.dup.row<T>(r);
    for_each(op.dy.cols, [&](auto d, int64_t i) HWY_ATTR {
      const auto g = load(d, gate + i), u = load(d, up + i), grad = load(d, dy + i);
      const auto s = sigmoid(d, g), silu = hn::Mul(g, s);
      const auto slope = hn::MulAdd(silu, hn::Sub(hn::Set(d, 1.0f), s), s);  // s (1 + g (1 - s))
      store(hn::Mul(hn::Mul(grad, u), slope), d, dgate + i);
      store(hn::Mul(grad, silu), d, dup + i);
    });
  }
}
void swiglu_backward_rows(const SwigluBackward& op, int64_t first, int64_t last) {
  by_type(op.dy.dtype,
          [&](auto zero) HWY_ATTR { swiglu_backward_rows_of<decltype(zero)>(op, first, last); });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(gelu_rows);
HWY_EXPORT(gelu_backward_rows);
HWY_EXPORT(swiglu_rows);
HWY_EXPORT(swiglu_backward_rows);

void CpuBackend::gelu_forward(const GeluForward& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(gelu_rows);
  for_row_blocks(op.x.rows, op.x.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

void CpuBackend::gelu_backward(const GeluBackward& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(gelu_backward_rows);
  for_row_blocks(op.x.rows, op.x.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

void CpuBackend::swiglu_forward(const SwigluForward& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(swiglu_rows);
  for_row_blocks(op.y.rows, op.y.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

void CpuBackend::swiglu_backward(const SwigluBackward& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(swiglu_backward_rows);
  for_row_blocks(op.dy.rows, op.dy.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

}  // namespace isoflop::cpu
#endif
