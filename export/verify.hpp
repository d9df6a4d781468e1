// Whether a written model computes what the one in memory does, activation by activation.
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

/// What a model computes for some tokens: the activations in the order they are computed, then the
/// logits of each token.
struct ModelTrace {
  std::vector<std::pair<std::string, std::vector<float>>> steps;  // "blocks.3.att", ..., "logits"
};

/// Of `tokens` tokens (at most the context) drawn from the whole vocabulary, the same ones each
/// time. Activations come from one pass over all of them, logits from decoding one by one, so both
/// ways through a model are taken.
ModelTrace trace_model(const ModelConfig& model,
                       const ParamTable& table,
                       const ParamBuffer& parameters,
                       Backend& backend,
                       int64_t tokens = 32);

struct TraceComparison {
  std::string first;            // the first step that differs; empty: none does
  double error = 0;             // there, over the largest value of the step
  double logit_difference = 0;  // the largest, absolute
};

/// A step differs when |a - b| > tolerance * max |a| somewhere. `model` is that of `a`: where its
/// multipliers are folded away in `b`, queries and keys are scaled otherwise and left out.
TraceComparison compare_traces(const ModelTrace& a,
                               const ModelTrace& b,
                               const ModelConfig& model,
                               double tolerance);

/// What rounding the weights to `dtype` may change. f32: sums of some thousand terms that are
/// scaled before instead of after, 1e-4 as for other programs. f16 and bf16: the weights' own
/// rounding (2^-11, 2^-8), up to tenfold through the layers. A tensor out of place changes an
/// activation by as much as it is large.
double trace_tolerance(DType dtype);

}  // namespace isoflop
