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
    const uint64_t tokens = store->tokens();
    longest = std::max(longest, tokens);
    if (tokens > 0) windows_ += (tokens - 1) / static_cast<uint64_t>(context);
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
          (window - first_window_[store]) * static_cast<uint64_t>(context_), epoch};
}

void Sampler::read(uint64_t sequence_index, std::span<int32_t> tokens) const {
  ISOFLOP_CHECK(tokens.size() == static_cast<size_t>(context_) + 1, "{} tokens for a context of {}",
                tokens.size(), context_);
  const WindowRef ref = window(sequence_index);
  stores_[static_cast<size_t>(ref.store)]->read(ref.first_token, tokens);
}

WindowList::WindowList(std::shared_ptr<const TokenStore> store, int64_t context)
    : store_(std::move(store)), context_(static_cast<uint64_t>(context)) {
  ISOFLOP_CHECK(context > 0, "context {}", context);
  if (store_->tokens() < 2)
    fail_user("{} has {} tokens; at least 2 are needed to predict one from the other",
              store_->path().string(), store_->tokens());
}

uint64_t WindowList::windows() const {
  return (targets() + context_ - 1) / context_;
}

uint64_t WindowList::length(uint64_t window) const {
  ISOFLOP_CHECK(window < windows(), "window {} of {}", window, windows());
  return std::min(context_, targets() - window * context_) + 1;
}

void WindowList::read(uint64_t window, std::span<int32_t> tokens) const {
  ISOFLOP_CHECK(tokens.size() == length(window), "{} tokens for a window of {}", tokens.size(),
                length(window));
  store_->read(window * context_, tokens);
}

}  // namespace isoflop
