#include "eval/generate.hpp"

#include "core/rng.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace isoflop {

namespace {

int32_t most_likely(View logits) {
  int32_t best = 0;
  for (int64_t v = 1; v < logits.cols; ++v)
    if (load_scalar(logits, 0, v) > load_scalar(logits, 0, best)) best = static_cast<int32_t>(v);
  return best;
}

/// Token and unnormalized probability, most likely first.
std::vector<std::pair<double, int32_t>> ranked(View logits, double temperature) {
  std::vector<std::pair<double, int32_t>> tokens;
  for (int64_t v = 0; v < logits.cols; ++v)
    tokens.emplace_back(load_scalar(logits, 0, v) / temperature, static_cast<int32_t>(v));
  std::sort(tokens.begin(), tokens.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  const double largest = tokens.front().first;
  for (auto& token : tokens) token.first = std::exp(token.first - largest);
  return tokens;
}

}  // namespace

int32_t pick_token(View logits, const GenerateOptions& options, uint64_t draw) {
  if (options.temperature <= 0) return most_likely(logits);
  auto tokens = ranked(logits, options.temperature);
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(tokens.size()))
    tokens.resize(static_cast<size_t>(options.top_k));
  double total = 0;
  for (const auto& token : tokens) total += token.first;
  double kept = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    kept += tokens[i].first;
    if (kept >= options.top_p * total) {
      tokens.resize(i + 1);
      break;
    }
  }
  double left = uniform01(options.seed, rng_stream(RngUse::sampling, 0), draw) * kept;
  for (const auto& token : tokens) {
    left -= token.first;
    if (left < 0) return token.second;
  }
  return tokens.back().second;
}

std::vector<int32_t> generate(Model& model,
                              KvCache& cache,
                              std::span<const int32_t> prompt,
                              const GenerateOptions& options,
                              const std::function<bool(int32_t)>& on_token) {
  ISOFLOP_CHECK(!prompt.empty(), "generation needs at least one token to start from");
  const size_t context = static_cast<size_t>(model.config().context);
  std::vector<int32_t> text(prompt.begin(), prompt.end());
  cache.length = 0;
  const size_t start = text.size() > context ? text.size() - context : 0;
  std::span<const int32_t> pending = std::span<const int32_t>(text).subspan(start);
  for (int64_t n = 0; n < options.tokens; ++n) {
    if (static_cast<size_t>(cache.length) + pending.size() > context) {  // forget the older half
      cache.length = 0;
      pending = std::span<const int32_t>(text).last(context / 2 + 1);
    }
    const auto piece = static_cast<size_t>(model.max_tokens());
    for (; pending.size() > piece; pending = pending.subspan(piece))
      model.decode(pending.first(piece), cache);
    const View logits = model.decode(pending, cache);
    const int32_t token = pick_token(logits, options, static_cast<uint64_t>(n));
    if (token == options.stop_token) break;
    text.push_back(token);
    if (on_token && !on_token(token)) break;
    pending = std::span<const int32_t>(text).last(1);
  }
  return {text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end()};
}

}  // namespace isoflop
