#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/reduce.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

double square_sum(const float* x, int64_t count) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, hn::ScalableTag<double>> df;  // as many floats as d has doubles
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  auto sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * step <= count; i += 2 * step) {
    const auto a = hn::PromoteTo(d, hn::LoadU(df, x + i));
    const auto b = hn::PromoteTo(d, hn::LoadU(df, x + i + step));
    sum0 = hn::MulAdd(a, a, sum0);
    sum1 = hn::MulAdd(b, b, sum1);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < count; ++i) total += static_cast<double>(x[i]) * x[i];
  return total;
}

const char* target_name() {
  return hwy::TargetName(HWY_TARGET);
}

template <class T>
HWY_INLINE void add_span_of(const T* from, T* to, int64_t count) {
  for_each(count, [&](auto d, int64_t i)
                      HWY_ATTR { store(hn::Add(load(d, to + i), load(d, from + i)), d, to + i); });
}
void add_span(View from, View to, int64_t row, int64_t column, int64_t count) {
  by_type(to.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    add_span_of<T>(from.row<T>(row) + column, to.row<T>(row) + column, count);
  });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(square_sum);
HWY_EXPORT(add_span);
HWY_EXPORT(target_name);

const char* vector_target() {
  return HWY_DYNAMIC_DISPATCH(target_name)();
}

double CpuBackend::sum_squares(View view) {
  constexpr int64_t kChunk = 4096, kChunksPerTile = 4;
  ISOFLOP_CHECK(view.contiguous(), "sum of squares of a view with stride {} and {} columns",
                view.stride, view.cols);
  const float* x = view.as<float>();
  const int64_t count = view.size(), chunks = div_ceil(count, kChunk);
  double* sums = scratch_.doubles(chunks);
  const auto kernel = HWY_DYNAMIC_DISPATCH(square_sum);
  team_.run(div_ceil(chunks, kChunksPerTile), [&](int64_t tile, int) {
    const int64_t last = std::min((tile + 1) * kChunksPerTile, chunks);
    for (int64_t c = tile * kChunksPerTile; c < last; ++c)
      sums[c] = kernel(x + c * kChunk, std::min(kChunk, count - c * kChunk));
  });
  double total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += sums[c];
  return total;
}

void CpuBackend::zero(View view) {
  const size_t size = size_of(view.dtype);
  for_spans(view, view, [&](int64_t r, int64_t c, int64_t count) {
    std::memset(static_cast<char*>(view.data) + static_cast<size_t>(r * view.stride + c) * size, 0,
                static_cast<size_t>(count) * size);
  });
}

void CpuBackend::copy(View from, View to) {
  check_same(from, to);
  const size_t size = size_of(from.dtype);
  for_spans(from, to, [&](int64_t r, int64_t c, int64_t count) {
    std::memcpy(static_cast<char*>(to.data) + static_cast<size_t>(r * to.stride + c) * size,
                static_cast<char*>(from.data) + static_cast<size_t>(r * from.stride + c) * size,
                static_cast<size_t>(count) * size);
  });
}

void CpuBackend::add(View from, View to) {
  check_same(from, to);
  const auto kernel = HWY_DYNAMIC_DISPATCH(add_span);
  for_spans(from, to, [&](int64_t r, int64_t c, int64_t count) { kernel(from, to, r, c, count); });
}

}  // namespace isoflop::cpu
#endif
