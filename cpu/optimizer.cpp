#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/optimizer.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

void adamw_span(const AdamW& op, int64_t first, int64_t count) {
  float* p = op.p.as<float>() + first;
  const float* g = op.g.as<float>() + first;
  float *m = op.m.as<float>() + first, *v = op.v.as<float>() + first;
  const float beta1 = static_cast<float>(op.beta1), rest1 = static_cast<float>(1 - op.beta1);
  const float beta2 = static_cast<float>(op.beta2), rest2 = static_cast<float>(1 - op.beta2);
  const float grad_scale = static_cast<float>(op.grad_scale), eps = static_cast<float>(op.eps);
  const float keep = static_cast<float>(1 - op.lr * op.weight_decay);
  const float step = static_cast<float>(op.lr / op.correction1);
  const float unbias2 = static_cast<float>(1 / op.correction2);
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto grad = hn::Mul(hn::LoadU(d, g + i), hn::Set(d, grad_scale));
    const auto mean =
        hn::MulAdd(hn::LoadU(d, m + i), hn::Set(d, beta1), hn::Mul(grad, hn::Set(d, rest1)));
    const auto square = hn::MulAdd(hn::LoadU(d, v + i), hn::Set(d, beta2),
                                   hn::Mul(hn::Mul(grad, grad), hn::Set(d, rest2)));
    hn::StoreU(mean, d, m + i);
    hn::StoreU(square, d, v + i);
    const auto root = hn::Add(hn::Sqrt(hn::Mul(square, hn::Set(d, unbias2))), hn::Set(d, eps));
    const auto change = hn::Div(hn::Mul(mean, hn::Set(d, step)), root);
    hn::StoreU(hn::MulSub(hn::LoadU(d, p + i), hn::Set(d, keep), change), d, p + i);
  });
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
