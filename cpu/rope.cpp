#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rope.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

// (a, b) becomes (a cos - b sin, a sin + b cos); the inverse has -sin.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void rotate(V& a, V& b, V cos, V sin) {
  const V a0 = a;
  a = hn::NegMulAdd(b, sin, hn::Mul(a0, cos));
  b = hn::MulAdd(a0, sin, hn::Mul(b, cos));
}

/// Interleaved pairs: both numbers of a pair in turn.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void load_pairs(D d, const float* x, V& a, V& b) {
  hn::LoadInterleaved2(d, x, a, b);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_pairs(V a, V b, D d, float* x) {
  hn::StoreInterleaved2(a, b, d, x);
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void load_pairs(D d, const bf16* x, V& a, V& b) {
  const hn::RebindToUnsigned<D> whole;
  const auto pairs = hn::LoadU(whole, reinterpret_cast<const uint32_t*>(x));
  a = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
  b = hn::BitCast(d, hn::And(pairs, hn::Set(whole, 0xffff0000u)));
}
template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_pairs(V a, V b, D d, bf16* x) {
  const hn::RebindToUnsigned<D> whole;
  const auto second = hn::And(round_to_bf16(d, b), hn::Set(whole, 0xffff0000u));
  const auto pairs = hn::Or(hn::ShiftRight<16>(round_to_bf16(d, a)), second);
  hn::StoreU(pairs, whole, reinterpret_cast<uint32_t*>(x));
}

/// Pairs j, j + lanes, ... of one head as long as whole vectors of this tag fit; returns where it
/// stopped. Heads are short (16 pairs at hd = 32), so callers go on with narrower tags.
template <class D, class T>
HWY_INLINE int64_t
rotate_pairs(D d, const Rope& op, T* x, const float* cos_row, const float* sin_row, int64_t j) {
  const int64_t half = op.rotary_dim / 2, step = static_cast<int64_t>(hn::Lanes(d));
  const auto sign = hn::Set(d, op.inverse ? -1.0f : 1.0f);
  for (; j + step <= half; j += step) {
    const auto cos = hn::LoadU(d, cos_row + j), sin = hn::Mul(hn::LoadU(d, sin_row + j), sign);
    auto a = cos, b = cos;
    if (op.pairs == RopePairs::interleaved) {
      load_pairs(d, x + 2 * j, a, b);
      rotate<D>(a, b, cos, sin);
      store_pairs(a, b, d, x + 2 * j);
    } else {
      a = load(d, x + j);
      b = load(d, x + j + half);
      rotate<D>(a, b, cos, sin);
      store(a, d, x + j);
      store(b, d, x + j + half);
    }
  }
  return j;
}

template <class T>
void rope_rows_of(const Rope& op, int64_t first, int64_t last) {
  for (int64_t r = first; r < last; ++r) {
    const int64_t position = op.first_position + r % op.tokens;
    const float *cos = op.cos.row<float>(position), *sin = op.sin.row<float>(position);
    for (int64_t c = 0; c < op.x.cols; c += op.head_dim) {
      T* x = op.x.row<T>(r) + c;
      int64_t j = rotate_pairs(hn::CappedTag<float, 16>(), op, x, cos, sin, 0);
      j = rotate_pairs(hn::CappedTag<float, 8>(), op, x, cos, sin, j);
      j = rotate_pairs(hn::CappedTag<float, 4>(), op, x, cos, sin, j);
      for (const int64_t half = op.rotary_dim / 2; j < half; ++j) {
        const bool interleaved = op.pairs == RopePairs::interleaved;
        T &a = x[interleaved ? 2 * j : j], &b = x[interleaved ? 2 * j + 1 : j + half];
        const float a0 = value_of(a), b0 = value_of(b), s = op.inverse ? -sin[j] : sin[j];
        assign(a, a0 * cos[j] - b0 * s);
        assign(b, a0 * s + b0 * cos[j]);
      }
    }
  }
}
void rope_rows(const Rope& op, int64_t first, int64_t last) {
  by_type(op.x.dtype, [&](auto zero) HWY_ATTR { rope_rows_of<decltype(zero)>(op, first, last); });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(rope_rows);

void CpuBackend::rope(const Rope& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(rope_rows);
  for_row_blocks(op.x.rows, op.x.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

}  // namespace isoflop::cpu
#endif
