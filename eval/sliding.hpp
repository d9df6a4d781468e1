// Sliding windows: every token but the first few has a long context, which costs context / stride
// times the work of windows without overlap.
#pragma once
#include "pretrain/train/score.hpp"

#include <vector>

namespace isoflop {

/// Scores tokens 1 .. count-1 in windows of the model's context at `stride` (1 <= stride <=
/// context), each token once: in the first window that reaches it. With a stride of the context
/// this is score_tokens(). `batch` windows at a time; appends the nats of every token to
/// `per_token`.
Score score_sliding(Model& model,
                    uint64_t count,
                    const TokenReader& read,
                    int64_t stride,
                    int64_t batch,
                    std::vector<double>& per_token);

}  // namespace isoflop
