// Sharding: which rows of which parameter a rank owns. The owner adds their gradients, keeps their
// moments and updates them (ZeRO stage 1: Rajbhandari et al. 2020); everyone else gets the result.
//
// A bucket is a run of parameters whose gradients are ready together: a block, or what lies before
// or behind the blocks. Each bucket is cut over all ranks, so that every link carries a part of
// each. Cuts lie between panels: 64 rows, or as many times that as make whole chunks of 4,096
// elements, over which gradient norms are summed. Vectors are not cut. An optimizer that needs
// whole matrices asks for it.
#pragma once
#include "core/param.hpp"

#include <cstdint>
#include <vector>

namespace isoflop {

struct RowRange {
  int64_t first = 0, count = 0;
};

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
  explicit Sharding(const ParamTable& table) : Sharding(table, 1, 0, {}) {}
  /// `whole[i]`: parameter i is not cut; empty = all may be.
  Sharding(const ParamTable& table, int ranks, int rank, const std::vector<bool>& whole);

  int ranks() const { return ranks_; }
  int rank() const { return rank_; }
  size_t parameters() const { return cuts_.size(); }
  const std::vector<Bucket>& buckets() const { return buckets_; }
  RowRange rows(size_t param, int rank) const {
    const std::vector<int64_t>& cuts = cuts_[param];
    const auto r = static_cast<size_t>(rank);
    return {cuts[r], cuts[r + 1] - cuts[r]};
  }
  RowRange rows(size_t param) const { return rows(param, rank_); }

  /// What a rank's share looks like: the table with its rows only, and which parameters have any.
  ParamTable table_of(const ParamTable& table, int rank) const;
  std::vector<bool> holds() const;
  /// A buffer of this rank's rows.
  ParamBuffer buffer(const ParamTable& table,
                     DType dtype,
                     const std::string& what,
                     const Allocate& allocate = allocate_host) const {
    return ParamBuffer(table_of(table, rank_), dtype, what, holds(), allocate);
  }
  /// Bytes of the largest share; every rank's differs a little.
  size_t most_bytes(const ParamTable& table, DType dtype) const;

 private:
  int ranks_, rank_;
  std::vector<Bucket> buckets_;
  std::vector<std::vector<int64_t>> cuts_;  // per parameter: ranks + 1 rows
};

/// Our rows of a whole tensor.
inline View rows_of(View whole, RowRange rows) {
  return whole.slice(rows.first, rows.count);
}

}  // namespace isoflop
