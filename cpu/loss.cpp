#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/loss.cpp"
#include "cpu/simd_targets.hpp"
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
template <bool kStore>
void softmax_pass(float* x, int64_t count, int64_t block, Softmax& s) {
  s.max = std::numeric_limits<double>::lowest();
  s.sum = 0;
  for (int64_t first = 0, b = 0; first < count; first += block, ++b) {
    float* at = x + first;
    const int64_t n = std::min(block, count - first);
    // lowest() instead of -inf, so that -inf logits give 0 and not NaN
    const float max = std::max(max_of(at, n), std::numeric_limits<float>::lowest());
    const float sum = reduce_sum(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto e = exp_negative(d, hn::Sub(hn::LoadU(d, at + i), hn::Set(d, max)));
      if constexpr (kStore) hn::StoreU(e, d, at + i);
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

/// x = scale e^(x - lse) (1 - (x/cap)^2): the softmax's gradient back through the cap.
void bent_gradient(float* x, int64_t count, double lse, double scale, double cap) {
  const float shift = static_cast<float>(lse), factor = static_cast<float>(scale);
  const float inverse = static_cast<float>(1 / cap);
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto logit = hn::LoadU(d, x + i), bent = hn::Mul(logit, hn::Set(d, inverse));
    const auto p = exp_negative(d, hn::Min(hn::Sub(logit, hn::Set(d, shift)), hn::Zero(d)));
    const auto slope = hn::NegMulAdd(bent, bent, hn::Set(d, 1.0f));
    hn::StoreU(hn::Mul(hn::Mul(p, slope), hn::Set(d, factor)), d, x + i);
  });
}

void softcap_row(const SoftCap& op, int64_t r) {
  float* x = op.x.row<float>(r);
  const float cap = static_cast<float>(op.cap), twice = static_cast<float>(2 / op.cap);
  for_each(op.x.cols, [&](auto d, int64_t i) HWY_ATTR {  // tanh u = 2 sigmoid(2u) - 1
    const auto half = sigmoid(d, hn::Mul(hn::LoadU(d, x + i), hn::Set(d, twice)));
    hn::StoreU(hn::MulSub(half, hn::Set(d, 2 * cap), hn::Set(d, cap)), d, x + i);
  });
}

void cross_entropy_row(const CrossEntropy& op, int64_t r) {
  const int64_t V = op.logits.cols;
  float *x = op.logits.row<float>(r), *loss = op.losses.row<float>(r);
  const int32_t target = op.targets[static_cast<size_t>(r)];
  if (target == kIgnoreTarget) {
    *loss = 0;
    if (op.grad_scale != 0) std::fill_n(x, V, 0.0f);
    return;
  }
  const int64_t block = std::max<int64_t>(1024, round_up(div_ceil(V, kMaxBlocks), 64));
  Softmax s;
  const double logit = x[target];
  if (op.grad_scale == 0 || op.softcap > 0)
    softmax_pass<false>(x, V, block, s);
  else
    softmax_pass<true>(x, V, block, s);
  const double lse = s.max + std::log(s.sum);
  *loss = static_cast<float>(lse - logit + op.z_loss * lse * lse);
  if (op.grad_scale == 0) return;
  const double scale = op.grad_scale * (1 + 2 * op.z_loss * lse);  // of the softmax
  if (op.softcap > 0) {
    bent_gradient(x, V, lse, scale, op.softcap);
    const double bent = logit / op.softcap;
    x[target] -= static_cast<float>(op.grad_scale * (1 - bent * bent));
    return;
  }
  for (int64_t first = 0, b = 0; first < V; first += block, ++b) {
    float* at = x + first;
    const float factor = static_cast<float>(scale / s.sum * std::exp(s.block_max[b] - s.max));
    for_each(std::min(block, V - first), [&](auto d, int64_t i) HWY_ATTR {
      hn::StoreU(hn::Mul(hn::LoadU(d, at + i), hn::Set(d, factor)), d, at + i);
    });
  }
  x[target] -= static_cast<float>(op.grad_scale);
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
