#include "parallel/slot_tree.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <bit>

namespace isoflop {

namespace {

void append_subtrees(SlotRange node, SlotRange range, std::vector<SlotRange>& out) {
  if (node.last <= range.first || range.last <= node.first) return;
  if (range.first <= node.first && node.last <= range.last) {
    out.push_back(node);
    return;
  }
  const int64_t split = split_of(node);
  append_subtrees({node.first, split}, range, out);
  append_subtrees({split, node.last}, range, out);
}

/// Adds up `node`; returns the part that then holds its sum, one of `rank` where there is one.
size_t add_up(SlotRange node,
              std::span<const TreePart> parts,
              int rank,
              std::vector<TreeAdd>& adds) {
  const auto part =
      std::find_if(parts.begin(), parts.end(), [&](const TreePart& p) { return p.slots == node; });
  if (part != parts.end()) return static_cast<size_t>(part - parts.begin());
  ISOFLOP_CHECK(node.size() > 1, "slot {} belongs to nobody", node.first);
  const int64_t split = split_of(node);
  const size_t left = add_up({node.first, split}, parts, rank, adds);
  const size_t right = add_up({split, node.last}, parts, rank, adds);
  const bool into_right = parts[left].rank != rank && parts[right].rank == rank;
  const size_t to = into_right ? right : left, from = into_right ? left : right;
  adds.push_back({from, to});
  return to;
}

}  // namespace

SlotRange slots_of(int64_t slots, int rank, int ranks) {
  return {slots * rank / ranks, slots * (rank + 1) / ranks};
}

int64_t split_of(SlotRange range) {
  return range.first +
         static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(range.size() - 1)));
}

bool is_subtree(int64_t slots, SlotRange range) {
  SlotRange node = {0, slots};
  while (node.first <= range.first && range.last <= node.last) {
    if (node == range) return true;
    if (node.size() == 1) return false;
    const int64_t split = split_of(node);
    node = range.first < split ? SlotRange{node.first, split} : SlotRange{split, node.last};
  }
  return false;
}

std::vector<SlotRange> subtrees_of(int64_t slots, SlotRange range) {
  std::vector<SlotRange> out;
  append_subtrees({0, slots}, range, out);
  return out;
}

int64_t most_open_sums(int64_t slots, SlotRange range) {
  size_t most = 0;
  for (int64_t last = range.first; last < range.last; ++last)
    most = std::max(most, subtrees_of(slots, {range.first, last}).size() + 1);
  return static_cast<int64_t>(most);
}

std::vector<TreePart> tree_parts(int64_t slots, int ranks) {
  std::vector<TreePart> parts;
  for (int rank = 0; rank < ranks; ++rank)
    for (const SlotRange& range : subtrees_of(slots, slots_of(slots, rank, ranks)))
      parts.push_back({rank, range});
  return parts;
}

std::vector<TreeAdd> tree_adds(int64_t slots, std::span<const TreePart> parts, int rank) {
  std::vector<TreeAdd> adds;
  add_up({0, slots}, parts, rank, adds);
  return adds;
}

double tree_sum(std::span<const double> values) {
  if (values.empty()) return 0;
  if (values.size() == 1) return values[0];
  const auto half = static_cast<size_t>(split_of({0, static_cast<int64_t>(values.size())}));
  return tree_sum(values.first(half)) + tree_sum(values.subspan(half));
}

}  // namespace isoflop
