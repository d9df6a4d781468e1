// Sharding: which rows of which parameter a rank owns. The owner adds their gradients, keeps their
// moments and updates them (ZeRO stage 1: Rajbhandari et al. 2020); everyone else gets the result.
//
// A bucket is a run of parameters whose gradients are ready together: half a block (the
// feed-forward, then the attention), or what lies before or behind the blocks. Each bucket is cut
// over all ranks, so that every link carries a part of each. Cuts lie between panels: 64 rows, or
// as many times that as make whole chunks of 4,096 elements, over which gradient norms are summed.
// Vectors are not cut, nor are matrices that Muon updates, which are dealt out by their size.
//
// With a pipeline only the ranks of a parameter's stage own rows of it, cut as if they were all
// the ranks there are. A tied matrix is of the first stage; the last has a copy of it and a
// gradient of its own, which joins the first stage's once per step.
//
// With tensor parallelism a rank has its part of each tensor (tensor_cut.hpp), and rows are those
// of the part: the ranks that have the same part share it out. A tensor that is not cut has as many
// owners of a row as there are parts, and the first of them stands for all.
#pragma once
#include "core/param.hpp"
#include "parallel/grid.hpp"
#include "parallel/tensor_cut.hpp"

#include <cstdint>
#include <vector>

namespace isoflop {

/// Elements over which squares are summed first (Backend::sum_squares).
inline constexpr int64_t kNormChunk = 4096;

/// Parameters [first, last) of the table.
struct Bucket {
  size_t first = 0, last = 0;
};
/// In table order, which is that of the backward pass.
std::vector<Bucket> make_buckets(const ParamTable& table);

class Sharding {
 public:
  /// Everything belongs to one rank.
  explicit Sharding(const ParamTable& table) : Sharding(table, 1, 0) {}
  Sharding(const ParamTable& table, int ranks, int rank)
      : Sharding(table, ProcessGrid({.dp = ranks}, rank)) {}
  Sharding(const ParamTable& table, const ProcessGrid& grid);

  const ProcessGrid& grid() const { return grid_; }
  int ranks() const { return grid_.shape().ranks(); }
  int rank() const { return grid_.rank(); }
  size_t parameters() const { return cuts_.size(); }
  const std::vector<Bucket>& buckets() const { return buckets_; }
  RowRange rows(size_t param, int rank) const {
    const GridPlace place = grid_.place_of(rank);
    const RowRange rows = rows_of_copy(param, place.dp, place.tp);
    return place.pp == stages_[param] ? rows : RowRange{rows.first, 0};
  }
  RowRange rows(size_t param) const { return rows(param, rank()); }
  /// The rows of the rank of parameter's stage and our part that belongs to copy `dp` of the model.
  RowRange rows_of_copy(size_t param, int dp) const {
    return rows_of_copy(param, dp, grid_.place().tp);
  }
  /// Whether what the rank owns of it is counted and stored: not the further owners of a tensor
  /// that is not cut.
  bool stands_for(size_t param, int rank) const {
    return cut_[param] || grid_.place_of(rank).tp == 0;
  }
  /// Where the rank's part lies in the whole tensor, whoever owns its rows.
  TensorCut cut(const ParamTable& table, size_t param, int rank) const {
    return cut_of(table[param], grid_.place_of(rank).tp, grid_.shape().tp);
  }
  TensorCut cut(const ParamTable& table, size_t param) const { return cut(table, param, rank()); }
  /// Whether ranks have only some of the parameters, or of each.
  bool parted() const { return grid_.shape().tp > 1 || grid_.shape().pp > 1; }
  int stage_of(size_t param) const { return stages_[param]; }
  /// Whether our stage has the parameter, whoever owns its rows.
  bool in_stage(size_t param) const { return stages_[param] == grid_.place().pp; }
  /// Parameters in_stage, for buffers of whole tensors.
  std::vector<bool> stage_holds() const;

  /// Our part of each tensor, whoever owns its rows.
  ParamTable part_of_table(const ParamTable& table) const {
    return cut_table(table, grid_.place().tp, grid_.shape().tp);
  }
  /// What a rank's share looks like: the table with its rows only, and which parameters have any.
  ParamTable table_of(const ParamTable& table, int rank) const;
  std::vector<bool> holds() const;
  /// A buffer of this rank's rows.
  ParamBuffer buffer(const ParamTable& table,
                     DType dtype,
                     const std::string& what,
                     const Allocate& allocate = allocate_host) const {
    return ParamBuffer(table_of(table, rank()), dtype, what, holds(), allocate);
  }
  /// The same of second moments, which not all parameters have.
  ParamBuffer second_moments(const ParamTable& table,
                             DType dtype,
                             const std::string& what,
                             const Allocate& allocate = allocate_host) const;
  size_t second_moment_bytes(const ParamTable& table, DType dtype, int rank) const;
  /// Bytes of the largest share; every rank's differs a little.
  size_t most_bytes(const ParamTable& table, DType dtype) const;
  size_t most_second_moment_bytes(const ParamTable& table, DType dtype) const;

 private:
  RowRange rows_of_copy(size_t param, int dp, int tp) const;

  ProcessGrid grid_;
  std::vector<Bucket> buckets_;
  std::vector<std::vector<int64_t>> cuts_;       // per parameter: dp + 1 rows of the largest part
  std::vector<std::vector<int64_t>> part_rows_;  // per parameter and part
  std::vector<int> stages_;                      // per parameter
  std::vector<bool> cut_;                        // per parameter, whether parts differ
};

/// Our rows of a whole tensor.
inline View rows_of(View whole, RowRange rows) {
  return whole.slice(rows.first, rows.count);
}

}  // namespace isoflop
