// Sampler: which window of which store is sequence i of a step, as a pure function. It has no state
// to save: resume, replay and `data batch --step N` call the same function.
//
// The stores are laid end to end; windows are context+1 tokens at stride context, within one store.
// Global sequence index g = step * batch_sequences + i; epoch = g / windows; the epoch's order is a
// keyed permutation of the windows (core/rng.hpp), so every window comes once per epoch.
#pragma once
#include "datasets/token_store.hpp"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace isoflop {

struct WindowRef {
  int store = 0;
  uint64_t first_token = 0;  // within the store
  uint64_t epoch = 0;
};

class Sampler {
 public:
  /// UserError when no store is as long as one window, or when their tokenizers differ. A store
  /// shorter than a window adds none, as the remainder at any store's end adds none.
  Sampler(std::vector<std::shared_ptr<const TokenStore>> stores, int64_t context, uint64_t seed);

  uint64_t windows() const { return windows_; }  // per epoch; the constructor refuses 0
  int64_t context() const { return context_; }
  WindowRef window(uint64_t sequence_index) const;
  /// context+1 tokens of global sequence `sequence_index`. Allocates nothing.
  void read(uint64_t sequence_index, std::span<int32_t> tokens) const;

 private:
  std::vector<std::shared_ptr<const TokenStore>> stores_;
  std::vector<uint64_t> first_window_;  // of each store, plus the total
  int64_t context_;
  uint64_t seed_;
  uint64_t windows_ = 0;
};

/// Windows of one store in order, for a loss over all of it: every token but the first is predicted
/// exactly once. The last window is shorter where the tokens end within it.
class WindowList {
 public:
  /// UserError when the store has fewer than 2 tokens.
  WindowList(std::shared_ptr<const TokenStore> store, int64_t context);

  const TokenStore& store() const { return *store_; }
  uint64_t windows() const;
  uint64_t targets() const { return store_->tokens() - 1; }
  /// Tokens of window i: context+1, for the last one 2 to context+1.
  uint64_t length(uint64_t window) const;
  /// `tokens` has length(window) elements. Allocates nothing.
  void read(uint64_t window, std::span<int32_t> tokens) const;

 private:
  std::shared_ptr<const TokenStore> store_;
  uint64_t context_;
};

}  // namespace isoflop
