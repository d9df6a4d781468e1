// The fixed binary tree in which the slots of a step are added: [0, S) splits at the largest power
// of two below S. A rank adds the whole subtrees among its own slots; who owns a piece of the
// gradient adds the ranks' subtrees in the tree's order. So a sum has the same bits whatever the
// number of ranks (docs/distributed.md).
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace isoflop {

struct SlotRange {
  int64_t first = 0, last = 0;  // [first, last)

  int64_t size() const { return last - first; }
  bool operator==(const SlotRange&) const = default;
};

/// The slots of rank k of n: [S*k/n, S*(k+1)/n). None is empty while n <= S.
SlotRange slots_of(int64_t slots, int rank, int ranks);

/// Where the tree over `range` splits. range.size() > 1
int64_t split_of(SlotRange range);

/// Whether `range` is a node of the tree over [0, slots).
bool is_subtree(int64_t slots, SlotRange range);

/// `range` as the fewest nodes of the tree over [0, slots), in order.
std::vector<SlotRange> subtrees_of(int64_t slots, SlotRange range);

/// The most sums a rank with these slots holds at once while it adds them one by one, neighbours
/// joined as soon as they make a node: what it needs buffers for.
int64_t most_open_sums(int64_t slots, SlotRange range);

/// A sum that some rank has: one of its subtrees.
struct TreePart {
  int rank = 0;
  SlotRange slots;
};
/// Of all ranks, in the order of the slots.
std::vector<TreePart> tree_parts(int64_t slots, int ranks);

/// to += from, by index into the parts.
struct TreeAdd {
  size_t from = 0, to = 0;
};
/// What turns the parts into the sum over all slots. It ends in the first part of `rank`, which is
/// why each rank has its own list; the bits are the same, since a + b = b + a.
std::vector<TreeAdd> tree_adds(int64_t slots, std::span<const TreePart> parts, int rank);

/// The same tree over one number per slot.
double tree_sum(std::span<const double> values);

}  // namespace isoflop
