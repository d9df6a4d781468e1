#include "datasets/tokenizer/merge_table.hpp"

#include "core/math.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>

namespace isoflop {

namespace {

constexpr uint64_t kNoPair = ~uint64_t{0};
/// Up to this many bytes looking at every pair is faster than keeping a heap.
constexpr size_t kFew = 24;

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

}  // namespace

MergeTable::MergeTable(size_t merges) {
  const size_t slots = std::bit_ceil(2 * merges + 2);
  slots_.assign(slots, {kNoPair, {}});
  shift_ = 64 - std::countr_zero(slots);
}

size_t MergeTable::place(uint64_t pair) const {
  size_t at = pair * 0x9E3779B97F4A7C15u >> shift_;  // Fibonacci hashing (Knuth, vol. 3, 6.4)
  while (slots_[at].pair != pair && slots_[at].pair != kNoPair) at = (at + 1) & (slots_.size() - 1);
  return at;
}

bool MergeTable::add(int32_t left, int32_t right, Merge merge) {
  const uint64_t pair = pair_key(left, right);
  Slot& slot = slots_[place(pair)];
  if (slot.pair == pair) return false;
  ISOFLOP_CHECK(2 * ++size_ <= slots_.size(), "more merges than announced");
  slot = {pair, merge};
  return true;
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  return slots_[place(pair_key(left, right))].merge;
}

void PieceMerger::merge(const MergeTable& table, std::vector<int32_t>& ids) {
  if (ids.size() < 2) return;
  const int32_t count = narrow<int32_t>(ids.size());
  use_heap_ = ids.size() > kFew;
  heap_.clear();
  nodes_.resize(ids.size());
  for (int32_t i = 0; i < count; ++i)
    nodes_[static_cast<size_t>(i)] = {
        ids[static_cast<size_t>(i)], i - 1, i + 1 < count ? i + 1 : -1, {}};
  for (int32_t i = 0; i + 1 < count; ++i) find_merge(table, i);

  for (int32_t at; (at = use_heap_ ? best_of_heap() : best_of_few()) >= 0;) join(table, at);

  ids.clear();
  for (int32_t at = 0; at >= 0; at = nodes_[static_cast<size_t>(at)].next)
    ids.push_back(nodes_[static_cast<size_t>(at)].id);
}

void PieceMerger::find_merge(const MergeTable& table, int32_t at) {
  Node& node = nodes_[static_cast<size_t>(at)];
  node.merge = node.next < 0 ? MergeTable::Merge{}
                             : table.find(node.id, nodes_[static_cast<size_t>(node.next)].id);
  if (!use_heap_ || node.merge.rank < 0) return;
  heap_.push_back(uint64_t{static_cast<uint32_t>(node.merge.rank)} << 32 |
                  static_cast<uint32_t>(at));
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

int32_t PieceMerger::best_of_few() const {
  int32_t best = -1;
  uint32_t rank = std::numeric_limits<uint32_t>::max();  // what -1 becomes, so it is never below
  for (int32_t at = 0; at >= 0; at = nodes_[static_cast<size_t>(at)].next) {
    const uint32_t here = static_cast<uint32_t>(nodes_[static_cast<size_t>(at)].merge.rank);
    if (here < rank) {
      rank = here;
      best = at;
    }
  }
  return best;
}

int32_t PieceMerger::best_of_heap() {
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const Candidate top = heap_.back();
    heap_.pop_back();
    const int32_t at = static_cast<int32_t>(top & 0xFFFFFFFF);
    // Outdated when the pair at this place has changed since.
    if (nodes_[static_cast<size_t>(at)].merge.rank == static_cast<int32_t>(top >> 32)) return at;
  }
  return -1;
}

void PieceMerger::join(const MergeTable& table, int32_t at) {
  Node& left = nodes_[static_cast<size_t>(at)];
  Node& right = nodes_[static_cast<size_t>(left.next)];
  left.id = left.merge.result;
  left.next = right.next;
  right.merge = {};
  if (left.next >= 0) nodes_[static_cast<size_t>(left.next)].previous = at;
  find_merge(table, at);
  if (left.previous >= 0) find_merge(table, left.previous);
}

}  // namespace isoflop
