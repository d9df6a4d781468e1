#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/optimizer.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "core/rng.hpp"
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "ops/check.hpp"

#include <algorithm>
#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

// words[4 k + j] = philox(seed, stream, counter + first / 4 + k)[j] (core/rng.hpp) for `count`
// words and up to four vectors more.
#if HWY_TARGET == HWY_SCALAR  // has no wide products
inline void random_words(const RandomRounding& at, int64_t first, int64_t count, uint32_t* words) {
  for (int64_t i = 0; i < count; i += 4) {
    const uint64_t counter = at.counter + static_cast<uint64_t>((first + i) / 4);
    std::ranges::copy(philox(at.seed, at.stream, counter), words + i);
  }
}
#else
using VWords = hn::Vec<hn::RebindToUnsigned<Full>>;

/// The upper and lower 32 bits of the products of all lanes.
HWY_INLINE void multiply_wide(VWords a, uint32_t b, VWords& high, VWords& low) {
  const hn::RebindToUnsigned<Full> d;
  const auto times = hn::Set(d, b);
  const auto even = hn::BitCast(d, hn::MulEven(a, times));
  const auto odd = hn::BitCast(d, hn::MulEven(hn::ShiftRightLanes<1>(d, a), times));
  high = hn::OddEven(odd, hn::DupOdd(even));
  low = hn::OddEven(hn::DupEven(odd), even);
}

void random_words(const RandomRounding& at, int64_t first, int64_t count, uint32_t* words) {
  const hn::RebindToUnsigned<Full> d;
  const int64_t step = lanes();
  for (int64_t i = 0; i < count; i += 4 * step) {
    const uint64_t counter = at.counter + static_cast<uint64_t>((first + i) / 4);
    auto c0 = hn::Iota(d, static_cast<uint32_t>(counter));
    const auto carry = hn::Lt(c0, hn::Set(d, static_cast<uint32_t>(counter)));
    const auto upper = hn::Set(d, static_cast<uint32_t>(counter >> 32));
    auto c1 = hn::IfThenElse(carry, hn::Add(upper, hn::Set(d, 1u)), upper);
    auto c2 = hn::Set(d, static_cast<uint32_t>(at.stream));
    auto c3 = hn::Set(d, static_cast<uint32_t>(at.stream >> 32));
    auto k0 = hn::Set(d, static_cast<uint32_t>(at.seed));
    auto k1 = hn::Set(d, static_cast<uint32_t>(at.seed >> 32));
    for (int round = 0; round < 10; ++round) {
      VWords high0, low0, high1, low1;
      multiply_wide(c0, 0xD2511F53u, high0, low0);
      multiply_wide(c2, 0xCD9E8D57u, high1, low1);
      c0 = hn::Xor(hn::Xor(high1, c1), k0);
      c2 = hn::Xor(hn::Xor(high0, c3), k1);
      c1 = low1;
      c3 = low0;
      k0 = hn::Add(k0, hn::Set(d, 0x9E3779B9u));
      k1 = hn::Add(k1, hn::Set(d, 0xBB67AE85u));
    }
    hn::StoreInterleaved4(c0, c1, c2, c3, d, words + i);
  }
}
#endif

/// What moments are stored as; `random` has 16 bits.
template <class D>
HWY_INLINE void store_moment(hn::Vec<D> value,
                             hn::Vec<hn::RebindToUnsigned<D>> /*random*/,
                             D d,
                             float* to) {
  hn::StoreU(value, d, to);
}
template <class D>
HWY_INLINE void store_moment(hn::Vec<D> value,
                             hn::Vec<hn::RebindToUnsigned<D>> random,
                             D d,
                             bf16* to) {
  const hn::RebindToUnsigned<D> whole;
  const auto bits = hn::BitCast(whole, value);
  const auto moved = hn::Add(bits, random);
  const auto nan = hn::Or(bits, hn::Set(whole, 0x400000u));
  store_upper_half(hn::IfThenElse(hn::RebindMask(whole, hn::IsNaN(value)), nan, moved), d, to);
}

template <class Moment>
HWY_INLINE void adamw_block(const AdamW& op, int64_t first, int64_t count, const uint32_t* words) {
  float* p = op.p.as<float>() + first;
  const float* g = op.g.as<float>() + first;
  Moment *m = op.m.as<Moment>() + first, *v = op.v.as<Moment>() + first;
  const float beta1 = static_cast<float>(op.beta1), rest1 = static_cast<float>(1 - op.beta1);
  const float beta2 = static_cast<float>(op.beta2), rest2 = static_cast<float>(1 - op.beta2);
  const float grad_scale = static_cast<float>(op.grad_scale), eps = static_cast<float>(op.eps);
  const float keep = static_cast<float>(1 - op.lr * op.weight_decay);
  const float step = static_cast<float>(op.lr / op.correction1);
  const float unbias2 = static_cast<float>(1 / op.correction2);
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto grad = hn::Mul(hn::LoadU(d, g + i), hn::Set(d, grad_scale));
    const auto mean =
        hn::MulAdd(load(d, m + i), hn::Set(d, beta1), hn::Mul(grad, hn::Set(d, rest1)));
    const auto square = hn::MulAdd(load(d, v + i), hn::Set(d, beta2),
                                   hn::Mul(hn::Mul(grad, grad), hn::Set(d, rest2)));
    const hn::RebindToUnsigned<decltype(d)> whole;
    auto random = hn::Zero(whole);
    if constexpr (std::is_same_v<Moment, bf16>) random = hn::LoadU(whole, words + i);
    store_moment(mean, hn::And(random, hn::Set(whole, 0xffffu)), d, m + i);
    store_moment(square, hn::ShiftRight<16>(random), d, v + i);
    const auto root = hn::Add(hn::Sqrt(hn::Mul(square, hn::Set(d, unbias2))), hn::Set(d, eps));
    const auto change = hn::Div(hn::Mul(mean, hn::Set(d, step)), root);
    hn::StoreU(hn::MulSub(hn::LoadU(d, p + i), hn::Set(d, keep), change), d, p + i);
  });
}

/// Elements [first, first + count) of the tensor; `first` a multiple of four.
void adamw_span(const AdamW& op, int64_t first, int64_t count) {
  if (op.m.dtype != DType::bf16) return adamw_block<float>(op, first, count, nullptr);
  constexpr int64_t kWords = 1024;
  HWY_ALIGN uint32_t words[kWords + 4 * HWY_MAX_BYTES / sizeof(uint32_t)];
  for (int64_t i = 0; i < count; i += kWords) {
    const int64_t some = std::min(kWords, count - i);
    random_words(op.rounding, first + i, some, words);
    adamw_block<bf16>(op, first + i, some, words);
  }
}

void weighted_sum_span(const WeightedSum& op, int64_t first, int64_t count) {
  const float* x = op.x.as<float>() + first;
  float* y = op.y.as<float>() + first;
  const float a = static_cast<float>(op.a), b = static_cast<float>(op.b);
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto term = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, a));
    hn::StoreU(b == 0 ? term : hn::MulAdd(hn::LoadU(d, y + i), hn::Set(d, b), term), d, y + i);
  });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(adamw_span);
HWY_EXPORT(weighted_sum_span);

void CpuBackend::adamw(const AdamW& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(adamw_span);
  const int64_t count = op.p.size();
  team_.run(div_ceil(count, kBlockElements), [&](int64_t tile, int) {
    const int64_t first = tile * kBlockElements;
    kernel(op, first, std::min(kBlockElements, count - first));
  });
}

void CpuBackend::weighted_sum(const WeightedSum& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(weighted_sum_span);
  const int64_t count = op.y.size();
  team_.run(div_ceil(count, kBlockElements), [&](int64_t tile, int) {
    const int64_t first = tile * kBlockElements;
    kernel(op, first, std::min(kBlockElements, count - first));
  });
}

}  // namespace isoflop::cpu
#endif
