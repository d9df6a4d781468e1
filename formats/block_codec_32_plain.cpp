// Blocks of 32 values without importance: plain rounding, by the widest vectors of the processor.
// Layouts are those of block_codec_32.cpp.
//
// The scale that divides is the F32 one, not its F16 rounding; products and sums are separate, as
// in the reference, whose bytes these are. A scale whose inverse is infinite is 0 in F16, so its
// levels say nothing: they are 0.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "formats/block_codec_32_plain.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "formats/block_codec_rows.hpp"
#include "hwy/highway.h"

#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace isoflop::blocks::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kBlock = 32;
using F = hn::CappedTag<float, 16>;
using I = hn::RebindToSigned<F>;

struct Interval {
  float low, high;
};

HWY_INLINE Interval interval_of(const float* x) {
  const int lanes = static_cast<int>(hn::Lanes(F()));
  auto low = hn::LoadU(F(), x), high = low;
  for (int j = lanes; j < kBlock; j += lanes) {
    const auto v = hn::LoadU(F(), x + j);
    low = hn::Min(low, v);
    high = hn::Max(high, v);
  }
  return {hn::GetLane(hn::MinOfLanes(F(), low)), hn::GetLane(hn::MaxOfLanes(F(), high))};
}

/// Which of two zeros, or of two equal magnitudes, came first matters to the bytes.
HWY_INLINE float first_of(const float* x, float value) {
  for (int j = 0; j < kBlock; ++j)
    if (std::fabs(x[j]) == std::fabs(value)) return x[j];
  return value;
}

/// The value of largest magnitude, with its sign; the first of equals. 0 of a block of zeros.
HWY_INLINE float signed_extreme(const float* x) {
  const Interval interval = interval_of(x);
  if (interval.high > -interval.low) return interval.high;
  if (interval.high < -interval.low) return interval.low;
  return interval.high == 0 ? 0.0f : first_of(x, interval.high);
}

HWY_INLINE float inverse(float scale) {
  return scale != 0 ? 1.0f / scale : 0.0f;
}

/// q = min(top, trunc((x - low) * inverse + offset)); all terms are >= 0 before the cut.
HWY_INLINE void levels_of(
    const float* x, float low, float inverse_scale, float offset, int top, uint8_t* q) {
  if (!std::isfinite(inverse_scale)) {
    std::fill_n(q, kBlock, uint8_t{0});
    return;
  }
  const hn::Rebind<uint8_t, F> bytes;
  const int lanes = static_cast<int>(hn::Lanes(F()));
  for (int j = 0; j < kBlock; j += lanes) {
    const auto above = hn::Sub(hn::LoadU(F(), x + j), hn::Set(F(), low));
    const auto level = hn::Add(hn::Mul(above, hn::Set(F(), inverse_scale)), hn::Set(F(), offset));
    const auto whole = hn::Min(hn::ConvertTo(I(), level), hn::Set(I(), top));
    hn::StoreU(hn::DemoteTo(bytes, whole), bytes, q + j);
  }
}

HWY_INLINE void pack_nibbles(const uint8_t* q, std::byte* out) {
  for (int j = 0; j < kBlock / 2; ++j)
    out[j] = static_cast<std::byte>((q[j] & 15) | (q[j + kBlock / 2] & 15) << 4);
}

HWY_INLINE void pack_fifth_bits(const uint8_t* q, std::byte* out) {
  for (int k = 0; k < kBlock / 8; ++k) {
    uint64_t eight;
    std::memcpy(&eight, q + 8 * k, sizeof(eight));
    // Byte i's bit, moved by 56 - 7 i, lands in bit i of the highest byte.
    eight = (eight >> 4 & 0x0101010101010101u) * 0x0102040810204080u;
    out[k] = static_cast<std::byte>(eight >> 56);
  }
}

/// Symmetric, the extreme on the lowest level -half: d, fifth bits, nibbles.
template <int kHalf, int kBytes>
HWY_INLINE void symmetric(const float* x, int64_t count, std::byte* out) {
  HWY_ALIGN uint8_t q[kBlock];
  for (; count > 0; count -= kBlock, x += kBlock, out += kBytes) {
    const float scale = signed_extreme(x) / static_cast<float>(-kHalf);
    store_f16(scale, out);
    levels_of(x, 0, inverse(scale), static_cast<float>(kHalf) + 0.5f, 2 * kHalf - 1, q);
    if (kHalf > 8) pack_fifth_bits(q, out + 2);
    pack_nibbles(q, out + kBytes - 16);
  }
}

/// The interval [min, max] on levels 0..top: d, m, fifth bits, nibbles.
template <int kTop, int kBytes>
HWY_INLINE void interval(const float* x, int64_t count, std::byte* out) {
  HWY_ALIGN uint8_t q[kBlock];
  for (; count > 0; count -= kBlock, x += kBlock, out += kBytes) {
    const Interval of = interval_of(x);
    const float low = of.low == 0 ? first_of(x, 0.0f) : of.low;
    const float scale = of.high == low ? 0.0f : (of.high - low) / static_cast<float>(kTop);
    store_f16(scale, out);
    store_f16(low, out + 2);
    levels_of(x, low, inverse(scale), 0.5f, kTop, q);
    if (kTop > 15) pack_fifth_bits(q, out + 4);
    pack_nibbles(q, out + kBytes - 16);
  }
}

void q4_0(const float* x, int64_t count, std::byte* out) {
  symmetric<8, 18>(x, count, out);
}
void q5_0(const float* x, int64_t count, std::byte* out) {
  symmetric<16, 22>(x, count, out);
}
void q4_1(const float* x, int64_t count, std::byte* out) {
  interval<15, 20>(x, count, out);
}
void q5_1(const float* x, int64_t count, std::byte* out) {
  interval<31, 24>(x, count, out);
}

/// Nearest level, halves away from zero.
void q8_0(const float* x, int64_t count, std::byte* out) {
  const hn::Rebind<int8_t, F> bytes;
  const int lanes = static_cast<int>(hn::Lanes(F()));
  for (; count > 0; count -= kBlock, x += kBlock, out += 34) {
    const Interval of = interval_of(x);
    const float scale = std::max(std::fabs(of.high), std::fabs(of.low)) / 127.0f;
    const float factor = inverse(scale);
    store_f16(scale, out);
    if (!std::isfinite(factor)) {
      std::fill_n(out + 2, kBlock, std::byte{0});
      continue;
    }
    for (int j = 0; j < kBlock; j += lanes) {
      const auto level = hn::Mul(hn::LoadU(F(), x + j), hn::Set(F(), factor));
      const auto whole = hn::Trunc(level);
      const auto away = hn::Ge(hn::Abs(hn::Sub(level, whole)), hn::Set(F(), 0.5f));
      const auto one = hn::CopySign(hn::Set(F(), 1.0f), level);
      const auto nearest = hn::Add(whole, hn::IfThenElseZero(away, one));
      hn::StoreU(hn::DemoteTo(bytes, hn::ConvertTo(I(), nearest)), bytes,
                 reinterpret_cast<int8_t*>(out) + 2 + j);
    }
  }
}

}  // namespace isoflop::blocks::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::blocks {

HWY_EXPORT(q4_0);
HWY_EXPORT(q4_1);
HWY_EXPORT(q5_0);
HWY_EXPORT(q5_1);
HWY_EXPORT(q8_0);

void quantize_q4_0(const float* values, int64_t count, std::byte* blocks) {
  HWY_DYNAMIC_DISPATCH(q4_0)(values, count, blocks);
}
void quantize_q4_1(const float* values, int64_t count, std::byte* blocks) {
  HWY_DYNAMIC_DISPATCH(q4_1)(values, count, blocks);
}
void quantize_q5_0(const float* values, int64_t count, std::byte* blocks) {
  HWY_DYNAMIC_DISPATCH(q5_0)(values, count, blocks);
}
void quantize_q5_1(const float* values, int64_t count, std::byte* blocks) {
  HWY_DYNAMIC_DISPATCH(q5_1)(values, count, blocks);
}
void quantize_q8_0(const float* values, int64_t count, std::byte* blocks) {
  HWY_DYNAMIC_DISPATCH(q8_0)(values, count, blocks);
}

}  // namespace isoflop::blocks
#endif
