// What an operation has to do at least, whatever carries it out: for rates and shares of a
// machine's limits. The one place where operations are counted.
//
// flops: of matrix products and attention, 2 per multiply-add; attention counts only the scores
// that the causal mask leaves (first_keys are not looked at). 0 for the rest, which memory limits.
// bytes: each input read once, each output written once; what is added to counts as both.
#pragma once
#include "ops/activation.hpp"
#include "ops/attention.hpp"
#include "ops/embedding.hpp"
#include "ops/loss.hpp"
#include "ops/matmul.hpp"
#include "ops/norm.hpp"
#include "ops/optimizer.hpp"
#include "ops/rope.hpp"
#include "ops/rounding.hpp"

namespace isoflop {

struct OpWork {
  double flops = 0;
  double bytes = 0;

  OpWork& operator+=(const OpWork& more) {
    flops += more.flops;
    bytes += more.bytes;
    return *this;
  }
};

OpWork work_of(const EmbeddingForward&);
OpWork work_of(const EmbeddingBackward&);
OpWork work_of(const Matmul&);
OpWork work_of(const MatmulGradInput&);
OpWork work_of(const MatmulGradWeight&);
OpWork work_of(const MatmulGelu&);
OpWork work_of(const MatmulGeluGradInput&);
OpWork work_of(const LayerNormForward&);
OpWork work_of(const LayerNormBackward&);
OpWork work_of(const RmsNormForward&);
OpWork work_of(const RmsNormBackward&);
OpWork work_of(const Rope&);
OpWork work_of(const AttentionForward&);
OpWork work_of(const AttentionBackward&);
OpWork work_of(const GeluForward&);
OpWork work_of(const GeluBackward&);
OpWork work_of(const SwigluForward&);
OpWork work_of(const SwigluBackward&);
OpWork work_of(const SoftCap&);
OpWork work_of(const CrossEntropy&);
OpWork work_of(const AdamW&);
OpWork work_of(const BlockRounding&);
OpWork work_of(const StateProduct&);
OpWork work_of(const WeightedSum&);

}  // namespace isoflop
