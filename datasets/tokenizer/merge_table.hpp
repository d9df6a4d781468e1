// MergeTable: which two neighbouring tokens become which one, and how early; and the loop that
// applies it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace isoflop {

class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1;  // position in the list of merges, 0 = first; -1 = there is none
    int32_t result = -1;
  };
  explicit MergeTable(size_t merges);

  /// False when the pair is in the table already.
  bool add(int32_t left, int32_t right, Merge merge);
  Merge find(int32_t left, int32_t right) const;
  bool empty() const { return size_ == 0; }

 private:
  struct Slot {
    uint64_t pair;
    Merge merge;
  };
  size_t place(uint64_t pair) const;

  std::vector<Slot> slots_;  // open addressing, a power of two, at most half full
  int shift_ = 0;
  size_t size_ = 0;
};

/// Merges one piece: of all neighbours that have a merge, the pair of lowest rank first, the
/// leftmost where several share it, until none is left. O(n log n) in the length of the piece.
/// Keeps its memory between pieces; one per thread.
class PieceMerger {
 public:
  /// `ids` of single bytes in, final ids out. At most 2^31 - 1 of them.
  void merge(const MergeTable& table, std::vector<int32_t>& ids);

 private:
  struct Node {
    int32_t id;
    int32_t previous, next;   // -1 at the ends
    MergeTable::Merge merge;  // with the next node
  };
  /// Rank in the upper half, position in the lower: the smallest is the one to apply.
  using Candidate = uint64_t;

  void find_merge(const MergeTable& table, int32_t at);
  int32_t best_of_few() const;
  int32_t best_of_heap();
  void join(const MergeTable& table, int32_t at);

  std::vector<Node> nodes_;
  std::vector<Candidate> heap_;  // may hold outdated entries; unused for short pieces
  bool use_heap_ = false;
};

}  // namespace isoflop
