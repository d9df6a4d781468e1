#include "datasets/sampler.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "core/rng.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

Sampler::Sampler(std::vector<std::shared_ptr<const TokenStore>> stores,
                 int64_t context,
                 uint64_t seed)
    : stores_(std::move(stores)), context_(context), seed_(seed) {
  ISOFLOP_CHECK(!stores_.empty() && context > 0, "{} stores, context {}", stores_.size(), context);
  uint64_t longest = 0;
  for (const auto& store : stores_) {
    if (store->info().tokenizer_hash != stores_[0]->info().tokenizer_hash)
      fail_user("{} and {} were made with different tokenizers; build them again with one",
                stores_[0]->path().string(), store->path().string());
    first_window_.push_back(windows_);
    longest = std::max(longest, store->tokens());
    windows_ += store->windows(context);
  }
  first_window_.push_back(windows_);
  if (windows_ == 0)
    fail_user(
        "{} has {} tokens, but one sequence needs {} (model.context = {}, plus one): give more "
        "text "
        "or a shorter context",
        stores_[0]->path().string() +
            (stores_.size() > 1 ? " and the other stores: the longest" : ""),
        longest, context + 1, context);
}

WindowRef Sampler::window(uint64_t sequence_index) const {
  const uint64_t epoch = sequence_index / windows_;
  const uint64_t stream = rng_stream(RngUse::data_order, narrow<uint32_t>(epoch));
  const uint64_t window = permute(sequence_index % windows_, windows_, seed_, stream);
  // The last store that starts at or before it; one too short for a window has none and is passed
  // over.
  const auto after = std::upper_bound(first_window_.begin(), first_window_.end(), window);
  const auto store = static_cast<size_t>(after - first_window_.begin()) - 1;
  return {static_cast<int>(store),
          stores_[store]->window_start(window - first_window_[store], context_), epoch};
}

void Sampler::read(uint64_t sequence_index, std::span<int32_t> tokens) const {
  ISOFLOP_CHECK(tokens.size() == static_cast<size_t>(context_) + 1, "{} tokens for a context of {}",
                tokens.size(), context_);
  const WindowRef ref = window(sequence_index);
  stores_[static_cast<size_t>(ref.store)]->read(ref.first_token, tokens);
}

}  // namespace isoflop
