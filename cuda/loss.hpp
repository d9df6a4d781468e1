// Softmax cross-entropy, a block a row: one pass over the logits for maximum and sum, one that
// writes the gradient over them; contract in ops/loss.hpp.
#pragma once
#include "cuda/rows.hpp"
#include "ops/loss.hpp"

namespace isoflop::gpu {

template <int W>
struct CrossEntropyKernel {
  Rows<bf16> logits;
  const int32_t* targets;
  float* losses;
  int64_t cols;
  float grad_scale, z_loss, softcap;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    float* const partial = reinterpret_cast<float*>(t.shared());
    const int64_t r = t.block(), step = static_cast<int64_t>(t.threads()) * W;
    const int64_t start = static_cast<int64_t>(t.thread()) * W;
    const int32_t target = targets[r];
    if (target == kIgnoreTarget) {
      if (t.thread() == 0) losses[r] = 0;
      const float zero[W] = {};
      for (int64_t c = start; grad_scale != 0 && c < cols; c += step)
        store_pack(logits.at(r, c), zero);
      return;
    }
    // A running maximum rescales the sum so far (Milakov & Gimelshein 2018).
    float max = -INFINITY, sum = 0;
    for (int64_t c = start; c < cols; c += step) {
      float v[W];
      load_pack<W, bf16>(logits.at(r, c), v);
      float top = max;
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) top = fmaxf(top, v[i]);
      if (top == -INFINITY) continue;
      sum *= expf(max - top);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) sum += expf(v[i] - top);
      max = top;
    }
    const float at_target = load(logits.at(r, target));
    const float top = block_max(t, max, partial);
    const float total = block_sum(t, max == -INFINITY ? sum : sum * expf(max - top), partial);
    const float lse = top + logf(total);
    if (t.thread() == 0) losses[r] = lse - at_target + z_loss * lse * lse;
    if (grad_scale == 0) return;
    const float weight = (1 + 2 * z_loss * lse) / total;  // d(lse + z lse^2)/d lse, over the sum
    for (int64_t c = start; c < cols; c += step) {
      float v[W];
      load_pack<W, bf16>(logits.at(r, c), v);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) {
        const float bent = softcap > 0 ? v[i] / softcap : 0;
        v[i] = grad_scale * (1 - bent * bent) *
               (weight * expf(v[i] - top) - (c + i == target ? 1.0f : 0.0f));
      }
      store_pack(logits.at(r, c), v);
    }
  }
};

template <class Device>
void cross_entropy(Device& device, const CrossEntropy& a, const int32_t* targets) {
  if (a.logits.rows == 0) return;
  const Launch launch{a.logits.rows, kThreads, kThreads / kWarp * sizeof(float)};
  const auto go = [&]<int W>() {
    device.launch(
        launch, CrossEntropyKernel<W>{rows_of<bf16>(a.logits), targets, a.losses.as<float>(),
                                      a.logits.cols, static_cast<float>(a.grad_scale),
                                      static_cast<float>(a.z_loss), static_cast<float>(a.softcap)});
  };
  if (in_eights({a.logits}))
    go.template operator()<8>();
  else
    go.template operator()<1>();
}

}  // namespace isoflop::gpu
