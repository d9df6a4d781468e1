#include "parallel/grid.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <set>

namespace isoflop {
namespace {

TEST(Grid, EveryRankHasItsOwnPlace) {
  for (const GridShape& shape : {GridShape{1, 1, 1}, GridShape{3, 1, 2}, GridShape{2, 2, 2},
                                 GridShape{1, 4, 2}, GridShape{1, 1, 5}}) {
    std::set<int> seen;
    for (int rank = 0; rank < shape.ranks(); ++rank) {
      const ProcessGrid grid(shape, rank);
      const GridPlace place = grid.place();
      EXPECT_TRUE(place.dp < shape.dp && place.tp < shape.tp && place.pp < shape.pp);
      EXPECT_EQ(grid.rank_at(place), rank);
      EXPECT_EQ(grid.first_stage(), place.pp == 0);
      EXPECT_EQ(grid.last_stage(), place.pp == shape.pp - 1);
      seen.insert(rank);
    }
    EXPECT_EQ(static_cast<int>(seen.size()), shape.ranks());
  }
  EXPECT_EQ(ProcessGrid({3, 1, 2}, 4).place(), (GridPlace{.dp = 1, .tp = 0, .pp = 1}));
}

TEST(Grid, TakesTheRanksThatFitAndNamesWhatWould) {
  EXPECT_EQ(fit_grid(6, 1, 2), (GridShape{3, 1, 2}));
  EXPECT_EQ(fit_grid(8, 2, 4), (GridShape{1, 2, 4}));
  try {
    fit_grid(6, 1, 4);
    FAIL() << "6 ranks are no multiple of 4";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("start a multiple of 4"), std::string::npos);
  }
}

}  // namespace
}  // namespace isoflop
