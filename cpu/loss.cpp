#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/loss.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/math-inl.h"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

constexpr int64_t kMaxBlocks = 256;

struct Softmax {
  double max = 0, sum = 0;       // of the row: sum of e^(x - max)
  double block_max[kMaxBlocks];  // what block b's exponentials were taken relative to
};

// One pass over memory: block by block (each fits the first-level cache) the maximum, then the
// exponentials relative to it, which replace the logits when they will become the gradient.
template <bool kStore, class T>
void softmax_pass(T* x, int64_t count, int64_t block, Softmax& s) {
  s.max = std::numeric_limits<double>::lowest();
  s.sum = 0;
  for (int64_t first = 0, b = 0; first < count; first += block, ++b) {
    T* at = x + first;
    const int64_t n = std::min(block, count - first);
    // lowest() instead of -inf, so that -inf logits give 0 and not NaN
    const float max = std::max(max_of(at, n), std::numeric_limits<float>::lowest());
    const float sum = reduce_sum(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto e = exp_negative(d, hn::Sub(load(d, at + i), hn::Set(d, max)));
      if constexpr (kStore) store(e, d, at + i);
      return e;
    });
    s.block_max[b] = max;
    if (max > s.max) {
      s.sum *= std::exp(s.max - max);
      s.max = max;
    }
    s.sum += sum * std::exp(max - s.max);
  }
}

/// x = scale e^(x - lse) (1 - (x/cap)^2): the softmax's gradient back through the cap, if any.
template <class T>
void bent_gradient(T* x, int64_t count, double lse, double scale, double cap) {
  const float shift = static_cast<float>(lse), factor = static_cast<float>(scale);
  const float inverse = cap > 0 ? static_cast<float>(1 / cap) : 0;
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto logit = load(d, x + i), bent = hn::Mul(logit, hn::Set(d, inverse));
    const auto p = exp_negative(d, hn::Min(hn::Sub(logit, hn::Set(d, shift)), hn::Zero(d)));
    const auto slope = hn::NegMulAdd(bent, bent, hn::Set(d, 1.0f));
    store(hn::Mul(hn::Mul(p, slope), hn::Set(d, factor)), d, x + i);
  });
}

template <class T>
void softcap_row_of(const SoftCap& op, int64_t r) {
  T* x = op.x.row<T>(r);
  const float cap = static_cast<float>(op.cap), twice = static_cast<float>(2 / op.cap);
  for_each(op.x.cols, [&](auto d, int64_t i) HWY_ATTR {  // tanh u = 2 sigmoid(2u) - 1
    const auto half = sigmoid(d, hn::Mul(load(d, x + i), hn::Set(d, twice)));
    store(hn::MulSub(half, hn::Set(d, 2 * cap), hn::Set(d, cap)), d, x + i);
  });
}
void softcap_row(const SoftCap& op, int64_t r) {
  by_type(op.x.dtype, [&](auto zero) HWY_ATTR { softcap_row_of<decltype(zero)>(op, r); });
}

template <class T>
void cross_entropy_row_of(const CrossEntropy& op, int64_t r) {
  const int64_t V = op.logits.cols;
  T* x = op.logits.row<T>(r);
  float* loss = op.losses.row<float>(r);
  const int32_t target = op.targets[static_cast<size_t>(r)];
  if (target == kIgnoreTarget) {
    *loss = 0;
    if (op.grad_scale != 0) std::fill_n(x, V, T());
    return;
  }
  const int64_t block = std::max<int64_t>(1024, round_up(div_ceil(V, kMaxBlocks), 64));
  Softmax s;
  const double logit = value_of(x[target]);
  // Exponentials kept in bf16 would be rounded once more, so there they are computed again.
  const bool again = op.softcap > 0 || sizeof(T) < sizeof(float);
  if (op.grad_scale == 0 || again)
    softmax_pass<false>(x, V, block, s);
  else
    softmax_pass<true>(x, V, block, s);
  const double lse = s.max + std::log(s.sum);
  *loss = static_cast<float>(lse - logit + op.z_loss * lse * lse);
  if (op.grad_scale == 0) return;
  const double scale = op.grad_scale * (1 + 2 * op.z_loss * lse);  // of the softmax
  if (again) {
    const double bent = op.softcap > 0 ? logit / op.softcap : 0, slope = 1 - bent * bent;
    const float minus = static_cast<float>(op.grad_scale * slope);
    bent_gradient(x, V, lse, scale, op.softcap);
    if constexpr (sizeof(T) == sizeof(float))
      x[target] -= minus;
    else  // not from the rounded probability: the difference may be far smaller than both
      x[target] = to_bf16(static_cast<float>(scale * slope * std::exp(logit - lse)) - minus);
    return;
  }
  for (int64_t first = 0, b = 0; first < V; first += block, ++b) {
    T* at = x + first;
    const float factor = static_cast<float>(scale / s.sum * std::exp(s.block_max[b] - s.max));
    for_each(std::min(block, V - first), [&](auto d, int64_t i) HWY_ATTR {
      store(hn::Mul(load(d, at + i), hn::Set(d, factor)), d, at + i);
    });
  }
  assign(x[target], value_of(x[target]) - static_cast<float>(op.grad_scale));
}
void cross_entropy_row(const CrossEntropy& op, int64_t r) {
  by_type(op.logits.dtype,
          [&](auto zero) HWY_ATTR { cross_entropy_row_of<decltype(zero)>(op, r); });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(softcap_row);
HWY_EXPORT(cross_entropy_row);

void CpuBackend::softcap(const SoftCap& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(softcap_row);
  for_row_blocks(op.x.rows, op.x.cols, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) kernel(op, r);
  });
}

void CpuBackend::cross_entropy(const CrossEntropy& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(cross_entropy_row);
  for_row_blocks(op.logits.rows, op.logits.cols, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) kernel(op, r);
  });
}

}  // namespace isoflop::cpu
#endif
