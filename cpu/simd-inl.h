// Vector helpers, compiled once per instruction set (hence the toggled guard, Highway's custom).
// The pattern of every file that has vector kernels:
//
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "cpu/this_file.cpp"
//   #include "core/simd_targets.hpp"
//   #include "hwy/foreach_target.h"  // includes this file again for each target
//   #include "cpu/simd-inl.h"
//
// kernels between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE, the rest of the file once, under
// HWY_ONCE, calling them through HWY_DYNAMIC_DISPATCH.
#if defined(ISOFLOP_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ISOFLOP_CPU_SIMD_INL_H_
#undef ISOFLOP_CPU_SIMD_INL_H_
#else
#define ISOFLOP_CPU_SIMD_INL_H_
#endif

#include "core/dtype.hpp"
#include "hwy/highway.h"

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Full = hn::ScalableTag<float>;
using One = hn::CappedTag<float, 1>;
using VFull = hn::Vec<Full>;

inline int64_t lanes() {
  return static_cast<int64_t>(hn::Lanes(Full()));
}

/// What activations are stored as does not show in a kernel: load widens to fp32, store rounds to
/// nearest even (NaN stays NaN), and a kernel is a template on the stored type.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const bf16* from) {
  const hn::Rebind<uint16_t, D> half;
  const hn::RebindToUnsigned<D> whole;
  const auto bits = hn::LoadU(half, reinterpret_cast<const uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(whole, bits)));
}

/// The rounded bf16 in the upper half of each lane; the lower half is left over.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> round_to_bf16(D, hn::Vec<D> v) {
  const hn::RebindToUnsigned<D> whole;
  const auto bits = hn::BitCast(whole, v);
  const auto even = hn::And(hn::ShiftRight<16>(bits), hn::Set(whole, 1u));
  const auto rounded = hn::Add(bits, hn::Add(even, hn::Set(whole, 0x7fffu)));
  const auto nan = hn::Or(bits, hn::Set(whole, 0x400000u));
  return hn::IfThenElse(hn::RebindMask(whole, hn::IsNaN(v)), nan, rounded);
}
template <class D>
HWY_INLINE void store(hn::Vec<D> v, D d, float* to) {
  hn::StoreU(v, d, to);
}
template <class D>
HWY_INLINE void store_upper_half(hn::Vec<hn::RebindToUnsigned<D>> bits, D, bf16* to) {
  const hn::Rebind<uint16_t, D> half;
  const hn::RebindToSigned<D> integer;
  const auto upper = hn::BitCast(integer, hn::ShiftRight<16>(bits));
  hn::StoreU(hn::DemoteTo(half, upper), half, reinterpret_cast<uint16_t*>(to));
}
template <class D>
HWY_INLINE void store(hn::Vec<D> v, D d, bf16* to) {
  store_upper_half(round_to_bf16(d, v), d, to);
}

/// Two vectors of consecutive elements, in whatever order among the two is cheap for the type.
template <class D>
HWY_INLINE void load_pair(D d, const float* from, hn::Vec<D>& a, hn::Vec<D>& b) {
  a = load(d, from);
  b = load(d, from + hn::Lanes(d));
}
template <class D>
HWY_INLINE void load_pair(D d, const bf16* from, hn::Vec<D>& a, hn::Vec<D>& b) {
  const hn::RebindToUnsigned<D> whole;
  const auto bits = hn::LoadU(whole, reinterpret_cast<const uint32_t*>(from));
  a = hn::BitCast(d, hn::ShiftLeft<16>(bits));
  b = hn::BitCast(d, hn::And(bits, hn::Set(whole, 0xffff0000u)));
}
template <class D>
HWY_INLINE void store_pair(hn::Vec<D> a, hn::Vec<D> b, D d, float* to) {
  store(a, d, to);
  store(b, d, to + hn::Lanes(d));
}
template <class D>
HWY_INLINE void store_pair(hn::Vec<D> a, hn::Vec<D> b, D d, bf16* to) {
  const hn::RebindToUnsigned<D> whole;
  const auto upper = hn::And(round_to_bf16(d, b), hn::Set(whole, 0xffff0000u));
  const auto both = hn::Or(hn::ShiftRight<16>(round_to_bf16(d, a)), upper);
  hn::StoreU(both, whole, reinterpret_cast<uint32_t*>(to));
}

/// v within [low, high]; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V clamp(D d, V v, float low, float high) {
  const V least = hn::Set(d, low), most = hn::Set(d, high);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 && HWY_TARGET != HWY_SCALAR
  return hn::Min(most, hn::Max(least, v));  // of which the second argument wins if one is NaN
#else
  v = hn::IfThenElse(hn::Lt(v, least), least, v);
  return hn::IfThenElse(hn::Gt(v, most), most, v);
#endif
}

/// Single elements, where a kernel needs one.
inline float value_of(float x) {
  return x;
}
inline float value_of(bf16 x) {
  return to_float(x);
}
inline void assign(float& to, float value) {
  to = value;
}
inline void assign(bf16& to, float value) {
  to = to_bf16(value);
}

/// f(T()) with T the type that `dtype` names, float or bf16.
template <class F>
HWY_INLINE void by_type(DType dtype, F&& f) {
  if (dtype == DType::bf16)
    f(bf16());
  else
    f(float());
}

/// f(tag, i) for whole vectors at i = 0, lanes, ..., then for the elements that are left, one by
/// one.
template <class F>
HWY_INLINE void for_each(int64_t count, F&& f) {
  const int64_t step = lanes();
  int64_t i = 0;
  for (; i + step <= count; i += step) f(Full(), i);
  for (; i < count; ++i) f(One(), i);
}

/// f(tag, inputs, outputs), both arrays of vectors, for all elements of from[0], ... and to[0], ...
template <class T, size_t kFrom, size_t kTo, class F>
HWY_INLINE void map(int64_t count, const T* const (&from)[kFrom], T* const (&to)[kTo], F&& f) {
  const auto one_vector = [&](auto d, int64_t i) HWY_ATTR {
    hn::Vec<decltype(d)> x[kFrom], y[kTo];
    for (size_t k = 0; k < kFrom; ++k) x[k] = load(d, from[k] + i);
    f(d, x, y);
    for (size_t k = 0; k < kTo; ++k) store(y[k], d, to[k] + i);
  };
  const Full d;
  const int64_t step = lanes();
  int64_t i = 0;
  for (; i + 2 * step <= count; i += 2 * step) {
    VFull x0[kFrom], x1[kFrom], y0[kTo], y1[kTo];
    for (size_t k = 0; k < kFrom; ++k) load_pair(d, from[k] + i, x0[k], x1[k]);
    f(d, x0, y0);
    f(d, x1, y1);
    for (size_t k = 0; k < kTo; ++k) store_pair(y0[k], y1[k], d, to[k] + i);
  }
  for (; i + step <= count; i += step) one_vector(d, i);
  for (; i < count; ++i) one_vector(One(), i);
}

/// f(tag, i) for whole vectors alone, the last of which may reach behind `count`: rows with room
/// for that need no scalar tail, which for a row of a hundred elements costs as much as the rest.
template <class F>
HWY_INLINE void for_each_whole(int64_t count, F&& f) {
  for (int64_t i = 0; i < count; i += lanes()) f(Full(), i);
}

/// Sum over [0, count) of the vectors that f(tag, i) returns, in an order fixed by count.
template <class F>
HWY_INLINE float reduce_sum(int64_t count, F&& f) {
  const Full d;
  const int64_t step = lanes();
  VFull sum0 = hn::Zero(d), sum1 = hn::Zero(d), sum2 = hn::Zero(d), sum3 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 4 * step <= count; i += 4 * step) {
    sum0 = hn::Add(sum0, f(d, i));
    sum1 = hn::Add(sum1, f(d, i + step));
    sum2 = hn::Add(sum2, f(d, i + 2 * step));
    sum3 = hn::Add(sum3, f(d, i + 3 * step));
  }
  for (; i + step <= count; i += step) sum0 = hn::Add(sum0, f(d, i));
  sum0 = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
  float total = hn::GetLane(hn::SumOfLanes(d, sum0));
  for (; i < count; ++i) total += hn::GetLane(f(One(), i));
  return total;
}

/// Largest of the values; `count` > 0. NaN may be passed over.
template <class T>
HWY_INLINE float max_of(const T* x, int64_t count) {
  const Full d;
  const int64_t step = lanes();
  float result = value_of(x[0]);
  int64_t i = 0;
  if (count >= step) {
    VFull top = load(d, x);
    for (i = step; i + step <= count; i += step) top = hn::Max(top, load(d, x + i));
    result = hn::GetLane(hn::MaxOfLanes(d, top));
  }
  for (; i < count; ++i) result = value_of(x[i]) > result ? value_of(x[i]) : result;
  return result;
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
