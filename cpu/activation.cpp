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

// The tanh form through the logistic function: (1 + tanh u) / 2 = 1 / (1 + 2^t), where
// t = -2u log2(e) and u = sqrt(2/pi) (x + 0.044715 x^3).
constexpr float kTwiceSlope = 1.5957691216f;  // 2 sqrt(2/pi)
constexpr float kCubic = 0.044715f;

template <class D, class V = hn::Vec<D>>
HWY_INLINE V tanh_exponent(D d, V x, V square) {
  constexpr float kSlope = -kTwiceSlope * kLog2E;
  return hn::Mul(x, hn::MulAdd(square, hn::Set(d, kSlope * kCubic), hn::Set(d, kSlope)));
}

template <class T>
void gelu_rows_of(const GeluForward& op, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const T* x = op.x.row<T>(r);
    T* y = op.y.row<T>(r);
    if (op.kind == Gelu::tanh) {
      map(op.x.cols, {x}, {y}, [](auto d, const auto& in, auto& out) HWY_ATTR {
        const auto v = in[0];
        out[0] = logistic_part(d, v, tanh_exponent(d, v, hn::Mul(v, v)));
      });
    } else {
      map(op.x.cols, {x}, {y}, [](auto d, const auto& in, auto& out) HWY_ATTR {
        auto density = in[0], distribution = in[0];
        normal(d, in[0], density, distribution);
        out[0] = hn::Mul(in[0], distribution);
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
      map(op.x.cols, {x, dy}, {dx}, [](auto d, const auto& in, auto& out) HWY_ATTR {
        const auto v = in[0], square = hn::Mul(v, v), one = hn::Set(d, 1.0f);
        const auto gate = logistic_part(d, one, tanh_exponent(d, v, square));
        // d(x gate)/dx = gate + x gate (1 - gate) 2u'
        const auto slope =
            hn::MulAdd(square, hn::Set(d, 3 * kTwiceSlope * kCubic), hn::Set(d, kTwiceSlope));
        const auto rest = hn::Mul(hn::Mul(v, slope), hn::NegMulAdd(gate, gate, gate));
        out[0] = hn::Mul(in[1], hn::Add(gate, rest));
      });
    } else {
      map(op.x.cols, {x, dy}, {dx}, [](auto d, const auto& in, auto& out) HWY_ATTR {
        auto density = in[0], distribution = in[0];
        normal(d, in[0], density, distribution);
        out[0] = hn::Mul(in[1], hn::MulAdd(in[0], density, distribution));
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
    map(op.y.cols, {gate, up}, {y}, [](auto d, const auto& in, auto& out) HWY_ATTR {
      const auto silu = logistic_part(d, in[0], hn::Mul(in[0], hn::Set(d, -kLog2E)));
      out[0] = hn::Mul(silu, in[1]);
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
    map(op.dy.cols, {gate, up, dy}, {dgate, dup}, [](auto d, const auto& in, auto& out) HWY_ATTR {
      const auto g = in[0], u = in[1], grad = in[2];
      const auto s = sigmoid(d, g), silu = hn::Mul(g, s);
      const auto slope = hn::MulAdd(silu, hn::Sub(hn::Set(d, 1.0f), s), s);  // s (1 + g (1 - s))
      out[0] = hn::Mul(hn::Mul(grad, u), slope);
      out[1] = hn::Mul(grad, silu);
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
