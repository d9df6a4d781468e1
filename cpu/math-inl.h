// Exponential, logistic function and normal distribution in fp32 vectors. They differ from
// Highway's own in one respect that training needs: NaN in gives NaN out, so a diverged run cannot
// look healthy. The polynomials are minimax fits in relative error; errors below are measured over
// the whole range.
#if defined(ISOFLOP_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ISOFLOP_CPU_MATH_INL_H_
#undef ISOFLOP_CPU_MATH_INL_H_
#else
#define ISOFLOP_CPU_MATH_INL_H_
#endif

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// t as a whole number, given as two to its power, and a fraction in [-1/2, 1/2]. -126 <= t <= 128,
/// where the power of 128 is infinity.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V split_exponent(D d, V t, V& power) {
  const hn::RebindToSigned<D> di;
  // The last bits of 1.5 2^23 + 127 + t are those of an exponent.
  const V bias = hn::Set(d, 12583039.0f), biased = hn::Add(t, bias);
  power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, biased)));
  return hn::Sub(t, hn::Sub(biased, bias));
}

constexpr float kLog2E = 1.44269504f;

/// e^x for x <= 0 (in fact up to 88); below -87.3, where the result would be subnormal, 0. 1.2 ulp
/// and, from the rounding of x log2(e), |x| / 4 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_negative(D d, V x) {
  V power;
  const V r = split_exponent(d, hn::Mul(x, hn::Set(d, kLog2E)), power), square = hn::Mul(r, r);
  // Pairs of terms, which do not wait for one another.
  const V low = hn::MulAdd(r, hn::Set(d, 0.6931471825f), hn::Set(d, 1.0f));
  const V mid = hn::MulAdd(r, hn::Set(d, 0.05550377816f), hn::Set(d, 0.2402264774f));
  V p = hn::MulAdd(r, hn::Set(d, 0.001337927533f), hn::Set(d, 0.009618604556f));
  p = hn::MulAdd(square, hn::Set(d, 0.0001525779517f), p);
  p = hn::MulAdd(hn::MulAdd(p, square, mid), square, low);
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, -87.3f)), hn::Zero(d), hn::Mul(p, power));
}

/// x / (1 + 2^t): for t far out 0 or x.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V logistic_part(D d, V x, V t) {
  V power;
  const V r = split_exponent(d, clamp(d, t, -126.0f, 128.0f), power), square = hn::Mul(r, r);
  // 2^r = (even + odd) / (even - odd), a continued fraction
  const V even = hn::MulAdd(square, hn::Set(d, 0.0480453f), hn::Set(d, 1.0f));
  const V odd = hn::Mul(r, hn::MulAdd(square, hn::Set(d, 0.00277518f), hn::Set(d, 0.34657359f)));
  const V below = hn::Sub(even, odd);
  return hn::Div(hn::Mul(x, below), hn::MulAdd(hn::Add(even, odd), power, below));
}

/// 1 / (1 + e^-x), without overflow on either side.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  return logistic_part(d, hn::Set(d, 1.0f), hn::Mul(x, hn::Set(d, -kLog2E)));
}

/// The standard normal's density and distribution function at x. For x < 0 the latter is
/// e^(-x^2/2) Q(1 / (1 + 0.35 |x|)) with Q of degree 9, so the far tail keeps its relative
/// accuracy.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void normal(D d, V x, V& density, V& distribution) {
  const V one = hn::Set(d, 1.0f), size = hn::Abs(x);
  const V e = exp_negative(d, hn::Mul(hn::Mul(size, size), hn::Set(d, -0.5f)));
  const V t = hn::Div(one, hn::MulAdd(size, hn::Set(d, 0.35f), one)), square = hn::Mul(t, t);
  V even = hn::Set(d, 0.1369314034f), odd = hn::Set(d, -0.02779315213f);
  even = hn::MulAdd(even, square, hn::Set(d, 0.1392600288f));
  odd = hn::MulAdd(odd, square, hn::Set(d, -0.2399394977f));
  even = hn::MulAdd(even, square, hn::Set(d, 0.09772819216f));
  odd = hn::MulAdd(odd, square, hn::Set(d, -0.007549135606f));
  even = hn::MulAdd(even, square, hn::Set(d, 0.1393766202f));
  odd = hn::MulAdd(odd, square, hn::Set(d, 0.1223138391f));
  even = hn::MulAdd(even, square, hn::Set(d, -2.418664173e-6f));
  odd = hn::MulAdd(odd, square, hn::Set(d, 0.1396741074f));
  const V tail = hn::Mul(e, hn::MulAdd(odd, t, even));
  density = hn::Mul(e, hn::Set(d, 0.3989422804f));
  distribution = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
