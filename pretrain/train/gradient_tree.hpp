// The sums of a rank's slots in the fixed binary tree over all slots (parallel/slot_tree.hpp):
// neighbours are joined as soon as they make a node, as a binary counter carries, so S slots need
// only floor(log2 S) + 1 gradients at once. What is left in the end are the rank's subtrees; one,
// the sum, where it owns all slots.
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"
#include "parallel/slot_tree.hpp"

#include <vector>

namespace isoflop {

class GradientTree {
 public:
  /// Of the slots `mine`, all of them without; of the tensors with holds[i].
  GradientTree(const ParamTable& table,
               Backend& backend,
               int64_t slots,
               SlotRange mine,
               const std::vector<bool>& holds);
  GradientTree(const ParamTable& table, Backend& backend, int64_t slots)
      : GradientTree(table, backend, slots, {0, slots}, std::vector<bool>(table.size(), true)) {}

  /// A zeroed gradient for the next slot to accumulate into.
  ParamBuffer& open();
  /// The one that was opened last.
  ParamBuffer& newest() { return buffers_[open_.size() - 1]; }
  /// The slot is complete: adds it to its finished neighbours.
  void close() {
    close_piece(0, buffers_[0].flat().cols);
    pieces_closed();
  }
  /// The same in pieces: elements of the flat buffer that are complete already. After the last
  /// piece, pieces_closed().
  void close_piece(int64_t first, int64_t count);
  void pieces_closed();
  /// After the last close(): the whole sum, or that of our first subtree. The next open() starts a
  /// new tree.
  ParamBuffer& finish();
  /// What finish() returned, until the next open().
  const ParamBuffer& sum() const { return buffers_[0]; }

  /// Where the sum of our i-th subtree ends up.
  ParamBuffer& part(size_t i) { return buffers_[i]; }

  size_t bytes() const;
  static int64_t buffers_for(int64_t slots) { return most_open_sums(slots, {0, slots}); }

 private:
  int64_t joins() const;  // that closing the newest slot brings

  Backend& backend_;
  int64_t slots_;
  SlotRange mine_;
  std::vector<ParamBuffer> buffers_;
  std::vector<SlotRange> open_;  // what the buffers hold
};

}  // namespace isoflop
