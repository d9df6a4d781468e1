#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "formats/block_search.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "formats/block_search.hpp"
#include "hwy/highway.h"

#include <algorithm>
#include <bit>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace isoflop::blocks::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A group is as many sub-blocks as a vector has lanes, value i of all of them side by side.
constexpr int kWidest = 32;  // values of a sub-block
constexpr int kMostLanes = HWY_MAX_BYTES / 4;

using F = hn::ScalableTag<float>;
using I = hn::RebindToSigned<F>;
using V = hn::Vec<F>;

HWY_INLINE hn::Vec<I> nearest(V value) {
  const V shifted = hn::Add(value, hn::Set(F(), 12582912.0f));  // 1.5 * 2^23
  const auto bits = hn::And(hn::BitCast(I(), shifted), hn::Set(I(), 0x007fffff));
  return hn::Sub(bits, hn::Set(I(), 0x00400000));
}

HWY_INLINE V nearest_within(V value, int low, int high) {
  const auto level = hn::Max(hn::Set(I(), low), hn::Min(hn::Set(I(), high), nearest(value)));
  return hn::ConvertTo(F(), level);
}

/// Not Min or Max, which may take either of two zeros.
HWY_INLINE V select(hn::Mask<F> take, V from, V otherwise) {
  return hn::IfThenElse(take, from, otherwise);
}

struct Group {
  HWY_ALIGN float values[kWidest * kMostLanes];

  V operator[](int i) const { return hn::Load(F(), values + i * lanes()); }
  void set(int i, V v) { hn::Store(v, F(), values + i * lanes()); }
  static int lanes() { return static_cast<int>(hn::Lanes(F())); }

  /// Sub-blocks that are not there are zero.
  void gather(const float* x, int width, int64_t sub_blocks) {
    const int n = lanes();
    for (int lane = 0; lane < n; ++lane)
      for (int i = 0; i < width; ++i)
        values[i * n + lane] = lane < sub_blocks ? x[lane * width + i] : 0.0f;
  }
  void scatter(int width, int64_t sub_blocks, float offset, uint8_t* levels) const {
    const int n = lanes();
    for (int lane = 0; lane < std::min<int64_t>(n, sub_blocks); ++lane)
      for (int i = 0; i < width; ++i)
        levels[lane * width + i] = static_cast<uint8_t>(values[i * n + lane] + offset);
  }
  void take(hn::Mask<F> better, int width, const Group& from) {
    for (int i = 0; i < width; ++i) set(i, hn::IfThenElse(better, from[i], (*this)[i]));
  }
};

HWY_INLINE void put(V v, int64_t count, float* out) {
  HWY_ALIGN float lanes[kMostLanes];
  hn::Store(v, F(), lanes);
  std::copy_n(lanes, std::min<int64_t>(count, Group::lanes()), out);
}

HWY_INLINE V interval_error(const Group& x, const Group& w, const Group& l, V scale, V low) {
  V error = hn::Zero(F());
  for (int i = 0; i < kWidest; ++i) {
    const V difference = hn::Sub(hn::Add(hn::Mul(scale, l[i]), low), x[i]);
    error = hn::Add(error, hn::Mul(w[i], hn::Mul(difference, difference)));
  }
  return error;
}

void fit_interval_groups(const float* values,
                         const float* weights,
                         int64_t sub_blocks,
                         const IntervalSearch& search,
                         float* scales,
                         float* lows,
                         uint8_t* levels) {
  const F f;
  const V zero = hn::Zero(f), top = hn::Set(f, static_cast<float>(search.top));
  const int n = Group::lanes();
  Group x, w, best, trial;
  for (int64_t first = 0; first < sub_blocks; first += n) {
    const int64_t count = sub_blocks - first;
    x.gather(values + first * kWidest, kWidest, count);
    w.gather(weights + first * kWidest, kWidest, count);
    V low = x[0], high = x[0], sum_w = w[0], sum_x = hn::Mul(w[0], x[0]);
    for (int i = 1; i < kWidest; ++i) {
      low = select(hn::Lt(x[i], low), x[i], low);
      high = select(hn::Gt(x[i], high), x[i], high);
      sum_w = hn::Add(sum_w, w[i]);
      sum_x = hn::Add(sum_x, hn::Mul(w[i], x[i]));
    }
    low = select(hn::Gt(low, zero), zero, low);
    const auto flat = hn::Le(high, low);
    const V flat_low = low;

    const V inverse = hn::Div(top, hn::Sub(high, low));
    V scale = hn::Div(hn::Set(f, 1.0f), inverse);
    for (int i = 0; i < kWidest; ++i)
      best.set(i, nearest_within(hn::Mul(inverse, hn::Sub(x[i], low)), 0, search.top));
    V error = interval_error(x, w, best, scale, low);

    for (int k = 0; k <= search.last; ++k) {
      const float levels_tried =
          search.first + search.step * static_cast<float>(k) + static_cast<float>(search.top);
      const V factor = hn::Div(hn::Set(f, levels_tried), hn::Sub(high, low));
      V sum_l = zero, sum_l2 = zero, sum_xl = zero;
      for (int i = 0; i < kWidest; ++i) {
        const V l = nearest_within(hn::Mul(factor, hn::Sub(x[i], low)), 0, search.top);
        const V wl = hn::Mul(w[i], l);
        trial.set(i, l);
        sum_l = hn::Add(sum_l, wl);
        sum_l2 = hn::Add(sum_l2, hn::Mul(wl, l));
        sum_xl = hn::Add(sum_xl, hn::Mul(wl, x[i]));
      }
      // The normal equations of x = scale * l + low.
      const V determinant = hn::Sub(hn::Mul(sum_w, sum_l2), hn::Mul(sum_l, sum_l));
      V new_scale = hn::Div(hn::Sub(hn::Mul(sum_w, sum_xl), hn::Mul(sum_x, sum_l)), determinant);
      V new_low = hn::Div(hn::Sub(hn::Mul(sum_l2, sum_x), hn::Mul(sum_l, sum_xl)), determinant);
      const auto above = hn::Gt(new_low, zero);
      new_low = select(above, zero, new_low);
      new_scale = select(above, hn::Div(sum_xl, sum_l2), new_scale);
      const V new_error = interval_error(x, w, trial, new_scale, new_low);
      const auto better = hn::And(hn::Gt(determinant, zero), hn::Lt(new_error, error));
      if (hn::AllFalse(f, better)) continue;
      best.take(better, kWidest, trial);
      error = select(better, new_error, error);
      scale = select(better, new_scale, scale);
      low = select(better, new_low, low);  // which the trials to come start from
    }
    for (int i = 0; i < kWidest; ++i) best.set(i, select(flat, zero, best[i]));
    put(select(flat, zero, scale), count, scales + first);
    put(hn::Neg(select(flat, flat_low, low)), count, lows + first);
    best.scatter(kWidest, count, 0, levels + first * kWidest);
  }
}

void fit_symmetric_groups(const float* values,
                          const float* weights,
                          int64_t sub_blocks,
                          int width,
                          int half,
                          float* scales,
                          uint8_t* levels) {
  const F f;
  const V zero = hn::Zero(f);
  const float h = static_cast<float>(half);
  const int n = Group::lanes();
  Group x, w, best, trial;
  for (int64_t first = 0; first < sub_blocks; first += n) {
    const int64_t count = sub_blocks - first;
    x.gather(values + first * width, width, count);
    w.gather(weights + first * width, width, count);
    V magnitude = zero, extreme = zero;  // the first of equals
    for (int i = 0; i < width; ++i) {
      const auto larger = hn::Gt(hn::Abs(x[i]), magnitude);
      magnitude = select(larger, hn::Abs(x[i]), magnitude);
      extreme = select(larger, x[i], extreme);
    }
    const auto nothing = hn::Lt(magnitude, hn::Set(f, 1e-15f));

    V scale = zero, merit = zero;
    for (int k = 0; k <= 18; ++k) {
      // 0, then -9..9 without 0.
      const int step = k == 0 ? 0 : k <= 9 ? k - 10 : k - 9;
      const V factor = hn::Div(hn::Set(f, -(h + 0.1f * static_cast<float>(step))), extreme);
      V sum_xl = zero, sum_l2 = zero;
      for (int i = 0; i < width; ++i) {
        const V l = nearest_within(hn::Mul(factor, x[i]), -half, half - 1);
        trial.set(i, l);
        sum_xl = hn::Add(sum_xl, hn::Mul(hn::Mul(w[i], x[i]), l));
        sum_l2 = hn::Add(sum_l2, hn::Mul(hn::Mul(w[i], l), l));
      }
      // The scale of least squares, and by how much it lowers the error.
      const auto some = hn::Gt(sum_l2, zero);
      const V new_scale = hn::Div(sum_xl, sum_l2);
      const auto better =
          k == 0 ? hn::Eq(zero, zero)
                 : hn::And(some, hn::Gt(hn::Mul(sum_xl, sum_xl), hn::Mul(merit, sum_l2)));
      if (hn::AllFalse(f, better)) continue;
      best.take(better, width, trial);
      scale = select(better, select(some, new_scale, zero), scale);
      merit = select(better, hn::Mul(scale, sum_xl), merit);
    }
    for (int i = 0; i < width; ++i) best.set(i, select(nothing, hn::Set(f, -h), best[i]));
    put(select(nothing, zero, scale), count, scales + first);
    best.scatter(width, count, h, levels + first * width);
  }
}

void weigh_values(const float* x, const float* importance, float spread, int64_t count, float* w) {
  const F f;
  const int64_t n = Group::lanes();
  int64_t i = 0;
  for (; i + n <= count; i += n) {
    const V v = hn::LoadU(f, x + i);
    const V root = hn::Sqrt(hn::Add(hn::Set(f, spread), hn::Mul(v, v)));
    hn::StoreU(hn::Mul(hn::LoadU(f, importance + i), root), f, w + i);
  }
  for (; i < count; ++i) w[i] = importance[i] * std::sqrt(spread + x[i] * x[i]);
}

}  // namespace isoflop::blocks::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::blocks {

HWY_EXPORT(fit_interval_groups);
HWY_EXPORT(fit_symmetric_groups);
HWY_EXPORT(weigh_values);

void fit_intervals(const float* x,
                   const float* w,
                   int64_t sub_blocks,
                   const IntervalSearch& search,
                   float* scales,
                   float* lows,
                   uint8_t* levels) {
  HWY_DYNAMIC_DISPATCH(fit_interval_groups)(x, w, sub_blocks, search, scales, lows, levels);
}

void fit_symmetric(const float* x,
                   const float* w,
                   int64_t sub_blocks,
                   int width,
                   int half,
                   float* scales,
                   uint8_t* levels) {
  HWY_DYNAMIC_DISPATCH(fit_symmetric_groups)(x, w, sub_blocks, width, half, scales, levels);
}

void weigh(const float* x, const float* importance, float spread, int64_t count, float* w) {
  HWY_DYNAMIC_DISPATCH(weigh_values)(x, importance, spread, count, w);
}

int nearest_level(float value) {
  return (std::bit_cast<int32_t>(value + 12582912.0f) & 0x007fffff) - 0x00400000;
}

}  // namespace isoflop::blocks
#endif
