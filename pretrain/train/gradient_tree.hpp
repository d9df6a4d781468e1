// The sum of the slots' gradients in a fixed binary tree over slot indices: [0, S) splits at the
// largest power of two below S. Which slots a rank owns cannot change the sum's bits, because every
// rank adds whole subtrees (docs/architecture.md, "Slots"). Works like a binary counter, so S slots
// need only floor(log2 S) + 1 gradients at once.
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"

#include <span>
#include <vector>

namespace isoflop {

class GradientTree {
 public:
  GradientTree(const ParamTable& table, Backend& backend, int64_t slots);

  /// A zeroed gradient for the next slot to accumulate into.
  ParamBuffer& open();
  /// The slot is complete: adds it to its finished neighbours.
  void close();
  /// After the last close(): the whole sum. The next open() starts a new tree.
  ParamBuffer& finish();
  /// What finish() returned, until the next open().
  const ParamBuffer& sum() const { return buffers_[0]; }

  size_t bytes() const;
  static int64_t buffers_for(int64_t slots);

 private:
  void merge_top();

  Backend& backend_;
  std::vector<ParamBuffer> buffers_;
  int64_t closed_ = 0;
  int64_t top_ = -1;  // index of the last buffer in use
};

/// The same tree over one number per slot.
double tree_sum(std::span<const double> values);

}  // namespace isoflop
