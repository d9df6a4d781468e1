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

/// e^x for x <= 0 (in fact up to 88); below -87.3, where the result would be subnormal, 0. 1.2 ulp.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_negative(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto n = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504f)));
  const V whole = hn::ConvertTo(d, n);
  // r = x - n ln 2, with ln 2 in two parts of which the first has few bits
  V r = hn::NegMulAdd(whole, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(whole, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 0.00138145379f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.00836874532f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166839083f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.166665204f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.4999999343f));
  p = hn::MulAdd(hn::Mul(r, r), p, hn::Add(r, hn::Set(d, 1.0f)));
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, -87.3f)), hn::Zero(d), hn::Mul(p, power));
}

/// 1 / (1 + e^-x), without overflow on either side.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V e = exp_negative(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

/// The standard normal's density and distribution function at x. For x < 0 the latter is
/// e^(-x^2/2) Q(1 / (1 + 0.35 |x|)) with Q of degree 9, so the far tail keeps its relative
/// accuracy.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void normal(D d, V x, V& density, V& distribution) {
  const V one = hn::Set(d, 1.0f), size = hn::Abs(x);
  const V e = exp_negative(d, hn::Mul(hn::Mul(size, size), hn::Set(d, -0.5f)));
  const V t = hn::Div(one, hn::MulAdd(size, hn::Set(d, 0.35f), one));
  V q = hn::Set(d, -0.02779315213f);
  q = hn::MulAdd(q, t, hn::Set(d, 0.1369314034f));
  q = hn::MulAdd(q, t, hn::Set(d, -0.2399394977f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.1392600288f));
  q = hn::MulAdd(q, t, hn::Set(d, -0.007549135606f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.09772819216f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.1223138391f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.1393766202f));
  q = hn::MulAdd(q, t, hn::Set(d, 0.1396741074f));
  q = hn::MulAdd(q, t, hn::Set(d, -2.418664173e-6f));
  const V tail = hn::Mul(e, q);
  density = hn::Mul(e, hn::Set(d, 0.3989422804f));
  distribution = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), tail, hn::Sub(one, tail));
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
