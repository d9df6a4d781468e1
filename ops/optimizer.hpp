// What optimizers do to one tensor at a time, all in the state dtype.
//
// AdamW with decoupled decay (Loshchilov & Hutter 2019), one tensor at a time, masters in fp32:
//   g' = g * grad_scale
//   m = beta1 m + (1-beta1) g';  v = beta2 v + (1-beta2) g'^2
//   p = p - lr * weight_decay * p - lr * (m / correction1) / (sqrt(v / correction2) + eps)
// Moments in bf16 are rounded at random after p has been made of them: rounded to the nearest, a
// moment that changes by less than 2^-9 of itself would never change at all. Element i takes word
// i % 4 of philox(seed, stream, counter + i / 4): its lower half for m, its upper half for v.
#pragma once
#include "core/view.hpp"

#include <cstdint>
#include <span>

namespace isoflop {

/// Where the random numbers of a tensor's moments in bf16 begin.
struct RandomRounding {
  uint64_t seed = 0, stream = 0, counter = 0;
};

struct AdamW {
  View p, g, m, v;  // same shape; p and g in the state dtype, m and v both in that or in bf16
  double lr = 0, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0;
  double correction1 = 1, correction2 = 1;  // 1 - beta^t
  double grad_scale = 1;                    // the clip factor
  View factor = {};                         // StepNumbers::factor, times which; NaN: no update
  RandomRounding rounding = {};             // of m and v in bf16
};

/// What a step comes to, kept on a device that Backend::keeps_numbers: sums of losses, to which
/// Backend::add_sum adds, and then of the gradients
///   squares = the sum of their squares
///   factor = min(1, clip / (sqrt(squares) + 1e-6)), 1 with clip 0; NaN when a loss or the squares
///   are not finite
struct StepNumbers {
  std::span<const View> gradients;  // state dtype
  View numbers;                     // (1, n + 2) f64: n sums, squares, factor
  double clip = 0;

  static View sums(View numbers) { return numbers.columns(0, numbers.cols - 2); }
  static View squares(View numbers) { return numbers.columns(numbers.cols - 2, 1); }
  static View factor(View numbers) { return numbers.columns(numbers.cols - 1, 1); }
};

/// y = a x + b y; with b 0, y is not read.
struct WeightedSum {
  View x, y;  // same shape
  double a = 1, b = 1;
};

}  // namespace isoflop
