// Text from a model, token by token through the KV cache.
#pragma once
#include "pretrain/model/model.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace isoflop {

struct GenerateOptions {
  int64_t tokens = 128;      // at most this many new ones
  double temperature = 0.8;  // 0: always the most likely token
  int64_t top_k = 0;         // keep the k most likely; 0 = all
  double top_p = 1.0;        // keep the smallest set with this much probability
  uint64_t seed = 1;
  int stop_token = -1;  // ends the text when drawn (not returned); -1 = never
};

/// Picks the next token from logits (1, V); the n-th draw of a text is a function of (seed, n).
int32_t pick_token(View logits, const GenerateOptions& options, uint64_t draw);

/// New tokens after `prompt` (at least one token). When the context is full, the older half is
/// forgotten and the rest read again. The prompt is read in pieces of
/// model.max_tokens(). `on_token` (when given) sees each token as it is drawn and
/// may end the text by returning false.
std::vector<int32_t> generate(Model& model,
                              KvCache& cache,
                              std::span<const int32_t> prompt,
                              const GenerateOptions& options,
                              const std::function<bool(int32_t)>& on_token = {});

}  // namespace isoflop
