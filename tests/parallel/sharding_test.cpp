// Who owns which rows: all of them once, whole panels, whole chunks of the gradient norm.
#include "parallel/sharding.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace isoflop {
namespace {

ParamSpec tensor(int64_t rows, int64_t cols, int block) {
  ParamSpec spec;
  spec.rows = rows;
  spec.cols = cols;
  spec.role = rows == 1 ? ParamRole::vector : ParamRole::hidden;
  spec.stage_block = block;
  return spec;
}

const ParamTable kTable = {tensor(1, 96, 2),      tensor(384, 96, 1), tensor(1, 384, 1),
                           tensor(96, 384, 1),    tensor(384, 96, 0), tensor(1, 384, 0),
                           tensor(1000, 128, -1), tensor(77, 33, -1)};

TEST(Sharding, BucketsAreRunsOfOneHalfOfABlock) {
  ParamTable table = kTable;
  table[4].feed_forward = true;
  const std::vector<Bucket> buckets = make_buckets(table);
  std::vector<std::pair<size_t, size_t>> ranges;
  for (const Bucket& bucket : buckets) ranges.emplace_back(bucket.first, bucket.last);
  EXPECT_EQ(ranges,
            (std::vector<std::pair<size_t, size_t>>{{0, 1}, {1, 4}, {4, 5}, {5, 6}, {6, 8}}));
}

TEST(Sharding, EachRowHasOneOwnerAndCutsLieBetweenPanelsAndChunks) {
  for (int ranks = 1; ranks <= 8; ++ranks) {
    const Sharding sharding(kTable, ranks, 0);
    for (size_t i = 0; i < kTable.size(); ++i) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const RowRange rows = sharding.rows(i, rank);
        if (rows.count == 0) continue;
        EXPECT_EQ(rows.first, next);
        EXPECT_EQ(rows.first % 64, 0);
        EXPECT_EQ(rows.first * kTable[i].cols % kNormChunk, 0);
        next = rows.first + rows.count;
      }
      EXPECT_EQ(next, kTable[i].rows);
    }
  }
}

TEST(Sharding, LargeMatricesAreSharedEvenly) {
  const ParamTable table = {tensor(4096, 512, 0)};
  for (const int ranks : {2, 3, 4, 8}) {
    const Sharding sharding(table, ranks, 0);
    for (int rank = 0; rank < ranks; ++rank)
      EXPECT_NEAR(static_cast<double>(sharding.rows(0, rank).count), 4096.0 / ranks, 64) << ranks;
  }
}

TEST(Sharding, KeepsWhatMuonUpdatesWholeAndWithoutSecondMoments) {
  ParamTable table = kTable;
  for (ParamSpec& spec : table)
    if (!spec.is_vector()) spec.update = Update::muon;
  const Sharding sharding(table, 3, 0);
  const ParamBuffer second = sharding.second_moments(table, DType::f32, "second moments");
  EXPECT_LE(second.bytes(), sharding.most_second_moment_bytes(table, DType::f32));
  EXPECT_LT(sharding.most_second_moment_bytes(table, DType::f32), 4096u);
  for (size_t i = 0; i < table.size(); ++i)
    EXPECT_EQ(static_cast<bool>(second[i]), table[i].is_vector() && sharding.rows(i).count > 0);
  for (size_t i = 0; i < kTable.size(); ++i)
    for (int rank = 0; rank < 3; ++rank) {
      const int64_t count = sharding.rows(i, rank).count;
      EXPECT_TRUE(count == 0 || count == kTable[i].rows);
    }
}

TEST(Sharding, DealsOutWholeMatricesEvenly) {
  ParamTable table;
  for (int block = 11; block >= 0; --block)
    for (const int64_t rows : {256, 1024, 256, 768}) {
      table.push_back(tensor(rows, 256, block));
      table.back().update = Update::muon;
    }
  for (const int ranks : {2, 3, 8}) {
    const Sharding sharding(table, ranks, 0);
    std::vector<int64_t> rows(static_cast<size_t>(ranks), 0);
    for (int rank = 0; rank < ranks; ++rank)
      for (size_t i = 0; i < table.size(); ++i)
        rows[static_cast<size_t>(rank)] += sharding.rows(i, rank).count;
    EXPECT_EQ(std::accumulate(rows.begin(), rows.end(), int64_t{0}), 12 * 2304);
    const auto [least, most] = std::minmax_element(rows.begin(), rows.end());
    EXPECT_LE(*most - *least, 1024) << ranks << " ranks: more than one matrix apart";
  }
}

TEST(Sharding, ABufferOfAShareHasItsRowsOnly) {
  const Sharding sharding(kTable, 4, 2);
  const ParamBuffer buffer = sharding.buffer(kTable, DType::f32, "a share");
  for (size_t i = 0; i < kTable.size(); ++i) {
    EXPECT_EQ(static_cast<bool>(buffer[i]), sharding.rows(i).count > 0);
    if (buffer[i]) {
      EXPECT_EQ(buffer[i].rows, sharding.rows(i).count);
    }
  }
  EXPECT_LE(buffer.bytes(), sharding.most_bytes(kTable, DType::f32));
}

}  // namespace
}  // namespace isoflop
