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

}  // namespace isoflop
