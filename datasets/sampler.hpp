// Sampler: which window of which store is sequence i of a step, as a pure function. It has no state
// to save: resume, replay and `data batch --step N` call the same function.
//
// Global sequence index g = step * batch_sequences + i. With several sources their weights say
// which one g comes from and how many it gave before (mixture.hpp); with one it gave g. A source's
// stores are laid end to end; windows are context+1 tokens at stride context, within one store (and
// within one row of a store of rows). epoch = number / windows of the source; the epoch's order is
// a keyed permutation of the windows (core/rng.hpp), so every window of a source comes once per its
// epoch.
#pragma once
#include "datasets/mixture.hpp"
#include "datasets/token_store.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace isoflop {

using TokenStores = std::vector<std::shared_ptr<const TokenStore>>;

struct SampledSource {
  std::string name;
  double weight = 1;  // only ratios count
  TokenStores stores;
};

struct WindowRef {
  int source = 0;
  int store = 0;             // of the source
  uint64_t first_token = 0;  // within the store
  uint64_t epoch = 0;        // of the source
};

class Sampler {
 public:
  static constexpr size_t kMostSources = 1 << 16;

  /// UserError when a source has no store as long as one window, when tokenizers differ, or for
  /// weights that Mixture refuses. A store shorter than a window adds none, as the remainder at any
  /// store's end adds none.
  Sampler(std::vector<SampledSource> sources, int64_t context, uint64_t seed);
  Sampler(TokenStores stores, int64_t context, uint64_t seed);

  const std::vector<SampledSource>& sources() const { return sources_; }
  /// Per epoch of a source; never 0.
  uint64_t windows(int source = 0) const {
    return first_window_[static_cast<size_t>(source)].back();
  }
  /// How many of the first `sequences` come from a source.
  uint64_t drawn(int source, uint64_t sequences) const;
  double share(int source) const { return mixture_ ? mixture_->share(source) : 1; }
  int64_t context() const { return context_; }

  WindowRef window(uint64_t sequence_index) const;
  const TokenStore& store(const WindowRef& window) const {
    return *sources_[static_cast<size_t>(window.source)].stores[static_cast<size_t>(window.store)];
  }
  /// context+1 tokens of global sequence `sequence_index`. Allocates nothing.
  void read(uint64_t sequence_index, std::span<int32_t> tokens) const;

 private:
  void add_source(const SampledSource& source);

  std::vector<SampledSource> sources_;
  std::vector<std::vector<uint64_t>> first_window_;  // of each store of each source, plus the total
  std::optional<Mixture> mixture_;                   // none: one source
  int64_t context_;
  uint64_t seed_;
};

}  // namespace isoflop
