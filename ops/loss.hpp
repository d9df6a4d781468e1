// Softmax cross-entropy over a slice of tokens, gradient written over the logits. The model calls
// it on slices, so the logits of a whole micro-batch never exist at once.
#pragma once
#include "core/view.hpp"

#include <span>

namespace isoflop {

inline constexpr int32_t kIgnoreTarget = -1;

struct CrossEntropy {
  View logits;                       // (n, V); overwritten by dL/dlogits when grad_scale != 0
  std::span<const int32_t> targets;  // n, each in [0, V) or kIgnoreTarget (loss and gradient 0)
  View losses;                       // (n, 1) nats per token, state dtype
  double grad_scale = 0;             // usually 1 / valid targets of the global batch
  double z_loss = 0;                 // adds z_loss lse^2, lse = log sum e^logit (PaLM, section 5)
  double softcap = 0;                // > 0: the logits went through SoftCap, the gradient goes back
};

/// x = cap tanh(x / cap), in place (Gemma 2, section 2). Its backward is CrossEntropy's `softcap`.
struct SoftCap {
  View x;
  double cap = 0;
};

}  // namespace isoflop
