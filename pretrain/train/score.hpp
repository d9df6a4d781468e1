// Scoring a long token sequence: windows without overlap, the last partial one included. The first
// token has no predecessor and is not scored, so put a separator in front where it should be.
#pragma once
#include "pretrain/model/model.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace isoflop {

struct Score {
  double nats = 0;     // sum over the scored tokens
  int64_t tokens = 0;  // scored
  double loss() const { return tokens > 0 ? nats / static_cast<double>(tokens) : 0; }
};

/// Widens tokens [first, first + out.size()) into `out`.
using TokenReader = std::function<void(uint64_t first, std::span<int32_t> out)>;

/// The sum of the token losses of a batch in nats.
using BatchScorer = std::function<double(const Batch& batch)>;

/// Scores tokens 1 .. count-1 of the sequence in windows of context+1 tokens at stride context.
/// `batch` windows at a time; `model` must be planned for batch * context tokens. With `per_token`,
/// appends the nats of every scored token in order. `keep_going` (when given) may end it early:
/// false.
Score score_tokens(Model& model,
                   uint64_t count,
                   const TokenReader& read,
                   int64_t batch,
                   std::vector<double>* per_token = nullptr,
                   const std::function<bool()>& keep_going = {});
/// The same by `evaluate`, which takes batches of up to `batch` windows of `context` tokens.
Score score_tokens(const BatchScorer& evaluate,
                   int64_t context,
                   uint64_t count,
                   const TokenReader& read,
                   int64_t batch,
                   const std::function<bool()>& keep_going = {});

}  // namespace isoflop
