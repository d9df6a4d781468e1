// Cross-entropy of a vocabulary that is shared by ranks: each has the logits of its own rows only.
// With a rank's own log-sum-exp l_r, which the ordinary op computes from its logits,
//   lse = log sum_r e^l_r,   softmax = own softmax * e^(l_r - lse),   loss = lse - target's logit,
// so that two numbers a token and rank are all that is told. Sums go in the order of the ranks.
#pragma once
#include "ops/backend.hpp"
#include "parallel/tensor_parallel.hpp"

#include <span>
#include <vector>

namespace isoflop {

class ShardedLoss {
 public:
  /// Up to `rows` tokens at once.
  ShardedLoss(TensorParallel& tp, Backend& backend, int64_t rows);

  /// Like Backend::cross_entropy, but op.logits are those of our rows of the vocabulary, and a
  /// target that another rank has is kElsewhere. Losses are those of the whole vocabulary.
  void cross_entropy(const CrossEntropy& op);

 private:
  void finish_row(const CrossEntropy& op, int64_t row, double own_lse, double lse, double target);

  TensorParallel& tp_;
  Backend& backend_;
  std::vector<int32_t> stand_ins_;  // targets that are ours to ask the op for
  std::vector<double> first_;       // logit of the stand-in
  std::vector<double> own_, all_;   // per token: own log-sum-exp, target's logit or 0
};

}  // namespace isoflop
