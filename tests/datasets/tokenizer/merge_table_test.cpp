#include "datasets/tokenizer/merge_table.hpp"

#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace isoflop {
namespace {

/// The definition: look at all pairs, merge the leftmost of lowest rank, begin again.
std::vector<int32_t> merge_naively(const MergeTable& table, std::vector<int32_t> ids) {
  while (true) {
    int best = -1;
    MergeTable::Merge lowest;
    for (int i = 0; i + 1 < static_cast<int>(ids.size()); ++i) {
      const MergeTable::Merge merge =
          table.find(ids[static_cast<size_t>(i)], ids[static_cast<size_t>(i + 1)]);
      if (merge.rank >= 0 && (best < 0 || merge.rank < lowest.rank)) {
        best = i;
        lowest = merge;
      }
    }
    if (best < 0) return ids;
    ids[static_cast<size_t>(best)] = lowest.result;
    ids.erase(ids.begin() + best + 1);
  }
}

TEST(PieceMerger, EqualsTheDefinitionOnShortAndLongPieces) {
  for (uint64_t trial = 0; trial < 60; ++trial) {
    const auto draw = [&](uint64_t counter, int end) {
      return static_cast<int32_t>(uniform01(trial, 7, counter) * end);
    };
    // Ids 0-3 are letters; every merge makes a new one from any two before it.
    MergeTable table(40);
    uint64_t counter = 0;
    int32_t rank = 0;
    for (int32_t made = 4; made < 44; ++made) {
      const int32_t left = draw(counter++, made);
      const int32_t right = draw(counter++, made);
      if (table.add(left, right, {rank, made})) ++rank;
    }
    PieceMerger merger;
    for (const size_t size : {0u, 1u, 2u, 3u, 8u, 23u, 24u, 25u, 26u, 200u}) {
      std::vector<int32_t> ids;
      for (size_t i = 0; i < size; ++i) ids.push_back(draw(counter++, 4));
      const std::vector<int32_t> expected = merge_naively(table, ids);
      merger.merge(table, ids);
      ASSERT_EQ(ids, expected) << "trial " << trial << ", size " << size;
    }
  }
}

TEST(MergeTable, RefusesAPairTwiceAndFindsOnlyWhatIsThere) {
  MergeTable table(2);
  EXPECT_TRUE(table.add(1, 2, {0, 3}));
  EXPECT_FALSE(table.add(1, 2, {1, 4}));
  EXPECT_TRUE(table.add(2, 1, {1, 4}));
  EXPECT_EQ(table.find(1, 2).result, 3);
  EXPECT_EQ(table.find(2, 1).rank, 1);
  EXPECT_EQ(table.find(1, 1).rank, -1);
  EXPECT_EQ(MergeTable(0).find(0, 0).rank, -1);
}

}  // namespace
}  // namespace isoflop
