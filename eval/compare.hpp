// Two models on the same tokens: how far apart the distributions are that they predict.
#pragma once
#include "core/threads.hpp"
#include "eval/reading.hpp"
#include "pretrain/train/score.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace isoflop {

/// Over all positions, P the reference and Q the other; sums in double.
struct Comparison {
  int64_t tokens = 0;
  double reference_nats = 0;  // of the tokens that do follow, under P
  double other_nats = 0;      // and under Q
  double mean_kl = 0;         // KL(P || Q), nats per token
  double p99_kl = 0;          // 99 of 100 positions have at most this
  double max_kl = 0;
  double max_logit_difference = 0;  // largest |difference| of a logit; NaN where one is not finite
  int64_t same_top = 0;             // positions where both find the same token likeliest
  /// Of the others, those where P's own logits of the two tokens differ by less than `noise`.
  int64_t excused = 0;

  double perplexity_ratio() const;  // exp of the difference of the mean nats
  double top1_agreement() const;
  int64_t unexcused() const { return tokens - same_top - excused; }
};

/// Both have read the same windows, with the same vocabulary; logits of both are computed for a few
/// hundred positions at a time. `noise`: how far the logits of another program may be off, in units
/// of a logit.
Comparison compare_models(Reading& reference, Reading& other, double noise, ThreadTeam& team);

/// About `tokens` tokens of a sequence of `count` in windows of at most `context` + 1, spread
/// evenly over it, the first at its start.
std::vector<Window> spread_windows(uint64_t count,
                                   int64_t context,
                                   int64_t tokens,
                                   const TokenReader& read);

}  // namespace isoflop
