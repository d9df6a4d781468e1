// ProcessGrid: ranks in three dimensions. dp: copies of the model that share a step's slots; tp:
// ranks that share each matrix; pp: stages of a pipeline, each with a run of blocks. Neighbours in
// tp have neighbouring numbers, then those in dp, then those in pp, so that who says most to each
// other shares a host first:
//
//   rank = (stage * dp + copy) * tp + part
//
// dp = 3, tp = 1, pp = 2:        copy 0  copy 1  copy 2
//                       stage 0    0       1       2
//                       stage 1    3       4       5
//
// dp = 1, tp = 2, pp = 2:        part 0  part 1
//                       stage 0    0       1
//                       stage 1    2       3
#pragma once
#include "parallel/communicator.hpp"

#include <cstdint>

namespace isoflop {

struct GridShape {
  int dp = 1, tp = 1, pp = 1;

  int ranks() const { return dp * tp * pp; }
  bool operator==(const GridShape&) const = default;
};

/// Where a rank stands.
struct GridPlace {
  int dp = 0, tp = 0, pp = 0;

  bool operator==(const GridPlace&) const = default;
};

/// The shape that `ranks` ranks make with that many parts and stages. UserError when they are no
/// multiple of tp * pp.
GridShape fit_grid(int ranks, int tp, int pp);

class ProcessGrid {
 public:
  /// One rank alone.
  ProcessGrid() = default;
  ProcessGrid(GridShape shape, int rank);

  const GridShape& shape() const { return shape_; }
  int rank() const { return rank_; }
  GridPlace place() const { return place_of(rank_); }
  GridPlace place_of(int rank) const;
  int rank_at(GridPlace place) const;

  bool first_stage() const { return place().pp == 0; }
  bool last_stage() const { return place().pp == shape_.pp - 1; }

  /// Collective over `ranks`, which has shape().ranks() members: the group of those that differ
  /// from us in one dimension only, ordered by it.
  std::unique_ptr<Communicator> split_dp(Communicator& ranks) const;
  std::unique_ptr<Communicator> split_tp(Communicator& ranks) const;
  std::unique_ptr<Communicator> split_pp(Communicator& ranks) const;

 private:
  GridShape shape_;
  int rank_ = 0;
};

}  // namespace isoflop
