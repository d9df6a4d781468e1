// What optimizers do to one tensor at a time, all in the state dtype.
//
// AdamW with decoupled decay (Loshchilov & Hutter 2019), one tensor at a time, masters in fp32:
//   g' = g * grad_scale
//   m = beta1 m + (1-beta1) g';  v = beta2 v + (1-beta2) g'^2
//   p = p - lr * weight_decay * p - lr * (m / correction1) / (sqrt(v / correction2) + eps)
#pragma once
#include "core/view.hpp"

namespace isoflop {

struct AdamW {
  View p, g, m, v;  // same shape, state dtype
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  double correction1 = 1, correction2 = 1;  // 1 - beta^t
  double grad_scale = 1;                    // the clip factor
};

/// y = a x + b y; with b 0, y is not read.
struct WeightedSum {
  View x, y;  // same shape
  double a = 1, b = 1;
};

}  // namespace isoflop
