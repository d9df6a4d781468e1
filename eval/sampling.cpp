#include "eval/sampling.hpp"

#include "core/rng.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace isoflop {

namespace {

bool likelier(const Candidate& a, const Candidate& b) {
  return a.p != b.p ? a.p > b.p : a.id < b.id;
}

}  // namespace

Candidates candidates_of(View logits) {
  Candidates all;
  all.reserve(static_cast<size_t>(logits.cols));
  for (int64_t v = 0; v < logits.cols; ++v)
    all.push_back({load_scalar(logits, 0, v), static_cast<int32_t>(v)});
  return all;
}

void penalize_repeats(Candidates& all, std::span<const int32_t> recent, double penalty) {
  if (penalty == 1) return;
  for (const int32_t id : std::set<int32_t>(recent.begin(), recent.end())) {
    double& logit = all[static_cast<size_t>(id)].p;
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

void apply_temperature(Candidates& all, double temperature) {
  const double most = std::max_element(all.begin(), all.end(), [](const auto& a, const auto& b) {
                        return a.p < b.p;
                      })->p;
  for (Candidate& c : all) c.p = std::exp((c.p - most) / temperature);
}

void keep_top_k(Candidates& all, int64_t k) {
  const auto kept = k > 0 ? std::min(static_cast<size_t>(k), all.size()) : all.size();
  const auto end = all.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(all.begin(), end, all.end(), likelier);
  all.erase(end, all.end());
}

void keep_top_p(Candidates& sorted, double p) {
  if (p >= 1) return;
  double total = 0;
  for (const Candidate& c : sorted) total += c.p;
  double kept = 0;
  for (size_t i = 0; i < sorted.size(); ++i) {
    kept += sorted[i].p;
    if (kept < p * total) continue;
    sorted.resize(i + 1);
    return;
  }
}

void keep_min_p(Candidates& sorted, double fraction) {
  const double least = fraction * sorted.front().p;
  while (sorted.size() > 1 && sorted.back().p < least) sorted.pop_back();
}

int32_t draw(const Candidates& sorted, double u) {
  double total = 0;
  for (const Candidate& c : sorted) total += c.p;
  double left = u * total;
  for (const Candidate& c : sorted) {
    left -= c.p;
    if (left < 0) return c.id;
  }
  return sorted.back().id;
}

int32_t pick_token(View logits,
                   const SamplingOptions& options,
                   uint64_t position,
                   std::span<const int32_t> before) {
  Candidates tokens = candidates_of(logits);
  const auto window = std::min(before.size(), static_cast<size_t>(options.repeat_window));
  penalize_repeats(tokens, before.last(window), options.repeat_penalty);
  if (options.temperature <= 0) return std::min_element(tokens.begin(), tokens.end(), likelier)->id;
  apply_temperature(tokens, options.temperature);
  keep_top_k(tokens, options.top_k);
  keep_top_p(tokens, options.top_p);
  keep_min_p(tokens, options.min_p);
  const uint64_t stream = rng_stream(RngUse::sampling, options.sequence);
  return draw(tokens, uniform01(options.seed, stream, position));
}

}  // namespace isoflop
