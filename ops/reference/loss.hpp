// Definition of softmax cross-entropy; contract in ops/loss.hpp.
#pragma once
#include "ops/loss.hpp"
#include "ops/reference/scalar.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace isoflop::reference {

template <class S>
void cross_entropy(const CrossEntropy& a) {
  for (int64_t r = 0; r < a.logits.rows; ++r) {
    S* x = a.logits.row<S>(r);
    S& loss = *a.losses.row<S>(r);
    const int32_t target = a.targets[r];
    if (target == kIgnoreTarget) {
      loss = 0;
      if (a.grad_scale != 0) std::fill_n(x, a.logits.cols, S(0));
      continue;
    }
    double max = -std::numeric_limits<double>::infinity();
    for (int64_t c = 0; c < a.logits.cols; ++c) max = std::max(max, real_part(x[c]));
    S sum = 0;
    for (int64_t c = 0; c < a.logits.cols; ++c) sum += std::exp(x[c] - S(max));
    const S lse = S(max) + std::log(sum);
    loss = lse - x[target] + S(a.z_loss) * lse * lse;
    if (a.grad_scale == 0) continue;
    const S weight = S(1) + S(2 * a.z_loss) * lse;  // of the softmax: d(lse + z lse^2)/d lse
    for (int64_t c = 0; c < a.logits.cols; ++c) {
      const S bent = a.softcap > 0 ? x[c] / S(a.softcap) : S(0);
      x[c] = S(a.grad_scale) * (S(1) - bent * bent) *
             (weight * std::exp(x[c] - S(max)) / sum - S(c == target ? 1 : 0));
    }
  }
}

template <class S>
void softcap(const SoftCap& a) {
  for (int64_t r = 0; r < a.x.rows; ++r)
    for (int64_t c = 0; c < a.x.cols; ++c) {
      S& x = a.x.row<S>(r)[c];
      x = S(a.cap) * std::tanh(x / S(a.cap));
    }
}

}  // namespace isoflop::reference
