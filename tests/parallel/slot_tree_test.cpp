// The tree over slots: what ranks add adds up to the same bits whoever owns which slots.
#include "parallel/slot_tree.hpp"

#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace isoflop {
namespace {

/// Numbers whose sum depends on the order.
std::vector<float> leaves(int64_t slots) {
  std::vector<float> values;
  for (int64_t i = 0; i < slots; ++i)
    values.push_back(
        static_cast<float>(normal01(1, 2, static_cast<uint64_t>(i)) * std::pow(10.0, i % 5)));
  return values;
}

float sum_of(const std::vector<float>& values, SlotRange range) {
  if (range.size() == 1) return values[static_cast<size_t>(range.first)];
  int64_t half = 1;
  while (half * 2 < range.size()) half *= 2;
  return sum_of(values, {range.first, range.first + half}) +
         sum_of(values, {range.first + half, range.last});
}

TEST(SlotTree, EveryRankHasSlotsAndAllAreTaken) {
  for (int64_t slots = 1; slots <= 20; ++slots)
    for (int ranks = 1; ranks <= slots; ++ranks) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const SlotRange range = slots_of(slots, rank, ranks);
        EXPECT_EQ(range.first, next);
        EXPECT_GT(range.size(), 0);
        next = range.last;
      }
      EXPECT_EQ(next, slots);
    }
}

TEST(SlotTree, PartsAreNodesAndAsFewAsCanBe) {
  EXPECT_EQ(subtrees_of(8, {0, 8}), (std::vector<SlotRange>{{0, 8}}));
  EXPECT_EQ(subtrees_of(8, {2, 5}), (std::vector<SlotRange>{{2, 4}, {4, 5}}));
  EXPECT_EQ(subtrees_of(6, {4, 6}), (std::vector<SlotRange>{{4, 6}}));
  EXPECT_EQ(subtrees_of(7, {3, 7}), (std::vector<SlotRange>{{3, 4}, {4, 7}}));
  EXPECT_TRUE(is_subtree(7, {4, 7}));
  EXPECT_FALSE(is_subtree(8, {4, 7}));
  EXPECT_FALSE(is_subtree(8, {2, 6}));
}

// The whole point: for each number of ranks, at each rank, the same float.
TEST(SlotTree, AllRanksOfAllLayoutsGetTheSameBits) {
  for (int64_t slots = 1; slots <= 13; ++slots) {
    const std::vector<float> values = leaves(slots);
    const float expected = sum_of(values, {0, slots});
    for (int ranks = 1; ranks <= slots; ++ranks) {
      const std::vector<TreePart> parts = tree_parts(slots, ranks);
      for (int rank = 0; rank < ranks; ++rank) {
        std::vector<float> sums;
        for (const TreePart& part : parts) sums.push_back(sum_of(values, part.slots));
        for (const TreeAdd& add : tree_adds(slots, parts, rank)) sums[add.to] += sums[add.from];
        size_t first = 0;
        while (parts[first].rank != rank) ++first;
        EXPECT_EQ(sums[first], expected) << slots << " slots, rank " << rank << " of " << ranks;
      }
    }
  }
}

TEST(SlotTree, CountsTheBuffersThatAddingOneByOneTakes) {
  EXPECT_EQ(most_open_sums(1, {0, 1}), 1);
  EXPECT_EQ(most_open_sums(8, {0, 8}), 4);
  EXPECT_EQ(most_open_sums(8, {0, 4}), 3);
  EXPECT_EQ(most_open_sums(8, {2, 5}), 2);
  EXPECT_EQ(most_open_sums(6, {0, 6}), 3);
}

TEST(TreeSum, IsTheSameTreeOverNumbers) {
  for (size_t count = 1; count <= 13; ++count) {
    std::vector<double> values;
    for (size_t i = 0; i < count; ++i)
      values.push_back(normal01(1, 2, i) * std::pow(10.0, static_cast<double>(i % 5)));
    const std::function<double(size_t, size_t)> sum = [&](size_t first, size_t size) -> double {
      if (size == 1) return values[first];
      size_t half = 1;
      while (half * 2 < size) half *= 2;
      return sum(first, half) + sum(first + half, size - half);
    };
    EXPECT_EQ(tree_sum(values), sum(0, count)) << count;
  }
  EXPECT_EQ(tree_sum({}), 0);
}

}  // namespace
}  // namespace isoflop
