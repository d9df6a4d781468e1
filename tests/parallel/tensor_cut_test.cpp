// Parts of tensors: each element is in one part, parts are as the products need them, and go back
// to where they came from.
#include "parallel/sharding.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace isoflop {
namespace {

ParamSpec tensor(int64_t rows, int64_t cols, Placement placement, std::vector<int64_t> parts = {}) {
  ParamSpec spec;
  spec.name = "t";
  spec.rows = rows;
  spec.cols = cols;
  spec.role = rows == 1 ? ParamRole::vector : ParamRole::hidden;
  spec.placement = placement;
  spec.parts = std::move(parts);
  return spec;
}

const ParamTable kTable = {tensor(24, 5, Placement::column),
                           tensor(48, 5, Placement::column, {24, 12, 12}),
                           tensor(1, 48, Placement::column, {24, 12, 12}),
                           tensor(7, 24, Placement::row), tensor(103, 3, Placement::vocabulary)};

TEST(TensorCut, EachElementIsInOnePartAndGoesBackToItsPlace) {
  for (const int parts : {1, 2, 3, 4, 6})
    for (const ParamSpec& spec : kTable) {
      std::vector<int32_t> whole(static_cast<size_t>(spec.size())), again(whole.size(), -1);
      std::iota(whole.begin(), whole.end(), 0);
      int64_t elements = 0;
      for (int part = 0; part < parts; ++part) {
        const ParamSpec mine = cut_spec(spec, part, parts);
        const TensorCut cut = cut_of(spec, part, parts);
        std::vector<int32_t> values(static_cast<size_t>(mine.size()));
        const View view = make_view(values.data(), mine.rows, mine.cols);
        take_part(make_view(whole.data(), spec.rows, spec.cols), view, cut);
        put_part(view, make_view(again.data(), spec.rows, spec.cols), cut);
        elements += mine.size();
      }
      EXPECT_EQ(elements, spec.size());
      EXPECT_EQ(again, whole) << parts;
    }
}

TEST(TensorCut, StackedMatricesAreCutEachForItself) {
  const TensorCut cut = cut_of(kTable[1], 1, 4);
  ASSERT_EQ(cut.runs.size(), 3u);
  EXPECT_EQ(cut.runs[0].whole, 6);
  EXPECT_EQ(cut.runs[1].whole, 24 + 3);
  EXPECT_EQ(cut.runs[2].whole, 24 + 12 + 3);
  EXPECT_EQ(cut.runs[2].first, 6 + 3);
  EXPECT_EQ(cut_spec(kTable[1], 1, 4).parts, (std::vector<int64_t>{6, 3, 3}));
}

TEST(TensorCut, AnUnevenVocabularyGivesTheFirstRanksOneRowMore) {
  for (int part = 0; part < 4; ++part)
    EXPECT_EQ(cut_spec(kTable[4], part, 4).rows, part < 3 ? 26 : 25);
}

TEST(TensorCut, WhatDoesNotDivideIsOurOwnMistake) {
  EXPECT_THROW(cut_of(kTable[0], 0, 5), std::logic_error);
  EXPECT_THROW(cut_of(kTable[3], 0, 5), std::logic_error);
}

// Owners of what is not cut are the same for every part, so that they can add up their gradients.
TEST(TensorCut, CopiesShareOutEveryPartAndWhatIsNotCutAlike) {
  ParamTable table = {tensor(1001, 64, Placement::vocabulary),
                      tensor(500, 64, Placement::replicated), tensor(1, 64, Placement::replicated)};
  for (const int dp : {1, 2, 3, 5})
    for (const int tp : {2, 4}) {
      const GridShape shape{dp, tp, 1};
      for (size_t i = 0; i < table.size(); ++i)
        for (int part = 0; part < tp; ++part) {
          int64_t next = 0;
          for (int copy = 0; copy < dp; ++copy) {
            const ProcessGrid grid(shape, 0);
            const Sharding sharding(table, grid);
            const int rank = grid.rank_at({copy, part, 0});
            const RowRange rows = sharding.rows(i, rank);
            EXPECT_EQ(rows.first, next);
            next += rows.count;
            EXPECT_EQ(sharding.stands_for(i, rank), i == 0 || part == 0);
            if (i > 0) {
              const RowRange others = sharding.rows(i, grid.rank_at({copy, 0, 0}));
              EXPECT_EQ(rows.count, others.count);
            }
          }
          EXPECT_EQ(next, cut_spec(table[i], part, tp).rows);
        }
    }
}

}  // namespace
}  // namespace isoflop
