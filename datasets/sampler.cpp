#include "datasets/sampler.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "core/rng.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

Sampler::Sampler(TokenStores stores, int64_t context, uint64_t seed)
    : Sampler(std::vector<SampledSource>{{"", 1, std::move(stores)}}, context, seed) {}

Sampler::Sampler(std::vector<SampledSource> sources, int64_t context, uint64_t seed)
    : sources_(std::move(sources)), context_(context), seed_(seed) {
  ISOFLOP_CHECK(!sources_.empty() && sources_.size() < kMostSources && context > 0,
                "{} sources, context {}", sources_.size(), context);
  for (const SampledSource& source : sources_) add_source(source);
  if (sources_.size() == 1) return;
  std::vector<double> weights;
  for (const SampledSource& source : sources_) weights.push_back(source.weight);
  mixture_.emplace(weights, seed);
}

void Sampler::add_source(const SampledSource& source) {
  ISOFLOP_CHECK(!source.stores.empty(), "source {} has no store", source.name);
  const TokenStore& first = *sources_[0].stores[0];
  std::vector<uint64_t> starts;
  uint64_t windows = 0, longest = 0;
  for (const auto& store : source.stores) {
    if (store->info().tokenizer_hash != first.info().tokenizer_hash)
      fail_user("{} and {} were made with different tokenizers; build them again with one",
                first.path().string(), store->path().string());
    starts.push_back(windows);
    longest = std::max(longest, store->tokens());
    windows += store->windows(context_);
  }
  starts.push_back(windows);
  first_window_.push_back(std::move(starts));
  if (windows > 0) return;
  const TokenStore& store = *source.stores[0];
  if (store.info().row_tokens > 0)
    fail_user(
        "{} holds rows of {} tokens, but one sequence needs {} (model.context = {}, plus one)",
        store.path().string(), store.info().row_tokens, context_ + 1, context_);
  fail_user(
      "{} has {} tokens, but one sequence needs {} (model.context = {}, plus one): give more text "
      "or a shorter context",
      store.path().string() +
          (source.stores.size() > 1 ? " and the other stores: the longest" : ""),
      longest, context_ + 1, context_);
}

uint64_t Sampler::drawn(int source, uint64_t sequences) const {
  return mixture_ ? mixture_->count(source, sequences) : sequences;
}

WindowRef Sampler::window(uint64_t sequence_index) const {
  const Mixture::Draw draw =
      mixture_ ? mixture_->draw(sequence_index) : Mixture::Draw{0, sequence_index};
  const auto& starts = first_window_[static_cast<size_t>(draw.source)];
  const uint64_t windows = starts.back();
  const uint64_t epoch = draw.index / windows;
  // Sources do not share permutations; bits 40 to 55 of a stream are free for that.
  const uint64_t stream = rng_stream(RngUse::data_order, narrow<uint32_t>(epoch)) +
                          (static_cast<uint64_t>(draw.source) << 40);
  const uint64_t window = permute(draw.index % windows, windows, seed_, stream);
  // The last store that starts at or before it; one too short for a window has none and is passed
  // over.
  const auto after = std::upper_bound(starts.begin(), starts.end(), window);
  const auto store = static_cast<size_t>(after - starts.begin()) - 1;
  const TokenStores& stores = sources_[static_cast<size_t>(draw.source)].stores;
  return {draw.source, static_cast<int>(store),
          stores[store]->window_start(window - starts[store], context_), epoch};
}

void Sampler::read(uint64_t sequence_index, std::span<int32_t> tokens) const {
  ISOFLOP_CHECK(tokens.size() == static_cast<size_t>(context_) + 1, "{} tokens for a context of {}",
                tokens.size(), context_);
  const WindowRef ref = window(sequence_index);
  store(ref).read(ref.first_token, tokens);
}

}  // namespace isoflop
