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
// exponentials relative to it, which go to e, if it is not null, as what each adds to the gradient:
// times 1 - (x/cap)^2 if there is a cap. e may be x.
template <class T>
void softmax_pass(const T* x, int64_t count, int64_t block, double cap, float* e, Softmax& s) {
  const float inverse = cap > 0 ? static_cast<float>(1 / cap) : 0;
  s.max = std::numeric_limits<double>::lowest();
  s.sum = 0;
  for (int64_t first = 0, b = 0; first < count; first += block, ++b) {
    const T* at = x + first;
    const int64_t n = std::min(block, count - first);
    // lowest() instead of -inf, so that -inf logits give 0 and not NaN
    const float max = std::max(max_of(at, n), std::numeric_limits<float>::lowest());
    const float sum = reduce_sum(n, [&](auto d, int64_t i) HWY_ATTR {
      const auto logit = load(d, at + i), p = exp_negative(d, hn::Sub(logit, hn::Set(d, max)));
      if (e != nullptr) {
        const auto bent = hn::Mul(logit, hn::Set(d, inverse));
        store(cap > 0 ? hn::NegMulAdd(hn::Mul(bent, bent), p, p) : p, d, e + first + i);
      }
      return p;
    });
    s.block_max[b] = max;
    if (max > s.max) {
      s.sum *= std::exp(s.max - max);
      s.max = max;
    }
    s.sum += sum * std::exp(max - s.max);
  }
}

template <class T>
void softcap_row_of(const SoftCap& op, int64_t r) {
  T* x = op.x.row<T>(r);
  const float cap = static_cast<float>(op.cap), scale = static_cast<float>(-2 / op.cap) * kLog2E;
  map(op.x.cols, {x}, {x}, [&](auto d, const auto& in, auto& out) HWY_ATTR {
    // cap tanh u = 2 cap / (1 + e^-2u) - cap
    const auto half = logistic_part(d, hn::Set(d, 2 * cap), hn::Mul(in[0], hn::Set(d, scale)));
    out[0] = hn::Sub(half, hn::Set(d, cap));
  });
}
void softcap_row(const SoftCap& op, int64_t r) {
  by_type(op.x.dtype, [&](auto zero) HWY_ATTR { softcap_row_of<decltype(zero)>(op, r); });
}

template <class T>
void cross_entropy_row_of(const CrossEntropy& op, int64_t r, float* scratch) {
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
  float* e = scratch;  // in bf16 they would be rounded once more
  if constexpr (sizeof(T) == sizeof(float)) e = x;
  if (op.grad_scale == 0) e = nullptr;
  softmax_pass(x, V, block, op.softcap, e, s);
  const double lse = s.max + std::log(s.sum);
  *loss = static_cast<float>(lse - logit + op.z_loss * lse * lse);
  if (op.grad_scale == 0) return;
  const double scale = op.grad_scale * (1 + 2 * op.z_loss * lse);  // of the softmax
  for (int64_t first = 0, b = 0; first < V; first += block, ++b) {
    const float factor = static_cast<float>(scale / s.sum * std::exp(s.block_max[b] - s.max));
    for_each(std::min(block, V - first), [&](auto d, int64_t i) HWY_ATTR {
      store(hn::Mul(load(d, e + first + i), hn::Set(d, factor)), d, x + first + i);
    });
  }
  // Not from the rounded probability: the difference may be far smaller than both.
  const double bent = op.softcap > 0 ? logit / op.softcap : 0, slope = 1 - bent * bent;
  assign(x[target], static_cast<float>(slope * (scale * std::exp(logit - lse) - op.grad_scale)));
}
void cross_entropy_row(const CrossEntropy& op, int64_t r, float* scratch) {
  by_type(op.logits.dtype,
          [&](auto zero) HWY_ATTR { cross_entropy_row_of<decltype(zero)>(op, r, scratch); });
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
  const int64_t room =
      op.logits.dtype == DType::bf16 && op.grad_scale != 0 ? round_up(op.logits.cols, 16) : 0;
  float* scratch = scratch_.floats(team_.size() * room);
  for_row_blocks(op.logits.rows, op.logits.cols, [&](int64_t first, int64_t last, int thread) {
    for (int64_t r = first; r < last; ++r) kernel(op, r, scratch + thread * room);
  });
}

}  // namespace isoflop::cpu
#endif
