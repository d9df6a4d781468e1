// Definitions of GELU and SwiGLU; contracts in ops/activation.hpp.
#pragma once
#include "ops/activation.hpp"
#include "ops/reference/scalar.hpp"

#include <cmath>
#include <complex>
#include <numbers>

namespace isoflop::reference {

/// Standard normal density and distribution function, Phi(x) = (1 + erf(x / sqrt 2)) / 2.
template <class S>
S normal_density(S x) {
  return std::exp(S(-0.5) * x * x) / S(std::sqrt(2.0 * std::numbers::pi));
}
template <class S>
S normal_cdf(S x) {
  return S(0.5) * std::erfc(-x / S(std::numbers::sqrt2));  // erfc keeps digits in the lower tail
}
/// The standard library has no complex erf, so this is Phi's expansion to first order in the
/// imaginary part: exact to rounding for a complex step (the next term is 1e-200), wrong for other
/// arguments.
inline std::complex<double> normal_cdf(std::complex<double> x) {
  return {normal_cdf(x.real()), normal_density(x.real()) * x.imag()};
}

inline constexpr double kGeluSlope = 0.79788456080286535588;  // sqrt(2 / pi)
inline constexpr double kGeluCubic = 0.044715;

template <class S>
S gelu(S x, Gelu kind) {
  if (kind == Gelu::erf) return x * normal_cdf(x);
  const S u = S(kGeluSlope) * (x + S(kGeluCubic) * x * x * x);
  return S(0.5) * x * (S(1) + std::tanh(u));
}

template <class S>
S gelu_derivative(S x, Gelu kind) {
  if (kind == Gelu::erf) return normal_cdf(x) + x * normal_density(x);
  const S t = std::tanh(S(kGeluSlope) * (x + S(kGeluCubic) * x * x * x));
  const S du = S(kGeluSlope) * (S(1) + S(3 * kGeluCubic) * x * x);
  return S(0.5) * (S(1) + t) + S(0.5) * x * (S(1) - t * t) * du;
}

template <class S>
S sigmoid(S x) {
  return S(1) / (S(1) + std::exp(-x));
}

template <class S>
void gelu_forward(const GeluForward& a) {
  for (int64_t r = 0; r < a.x.rows; ++r)
    for (int64_t c = 0; c < a.x.cols; ++c) a.y.row<S>(r)[c] = gelu(a.x.row<S>(r)[c], a.kind);
}

template <class S>
void gelu_backward(const GeluBackward& a) {
  for (int64_t r = 0; r < a.x.rows; ++r)
    for (int64_t c = 0; c < a.x.cols; ++c)
      a.dx.row<S>(r)[c] = a.dy.row<S>(r)[c] * gelu_derivative(a.x.row<S>(r)[c], a.kind);
}

template <class S>
void swiglu_forward(const SwigluForward& a) {
  for (int64_t r = 0; r < a.y.rows; ++r)
    for (int64_t c = 0; c < a.y.cols; ++c) {
      const S gate = a.gate.row<S>(r)[c];
      a.y.row<S>(r)[c] = gate * sigmoid(gate) * a.up.row<S>(r)[c];
    }
}

template <class S>
void swiglu_backward(const SwigluBackward& a) {
  for (int64_t r = 0; r < a.dy.rows; ++r)
    for (int64_t c = 0; c < a.dy.cols; ++c) {
      const S dy = a.dy.row<S>(r)[c], gate = a.gate.row<S>(r)[c], up = a.up.row<S>(r)[c];
      const S s = sigmoid(gate);
      a.dgate.row<S>(r)[c] = dy * up * s * (S(1) + gate * (S(1) - s));
      a.dup.row<S>(r)[c] = dy * gate * s;
    }
}

}  // namespace isoflop::reference
