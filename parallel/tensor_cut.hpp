// How tensor parallelism cuts a tensor among the ranks that share each matrix (Shoeybi et al.
// 2019):
//
//   column      by outputs, each of the stacked matrices for itself: a rank's heads, or its part of
//               the hidden units; a bias of such a matrix likewise
//   row         by inputs: the columns that meet those heads or units
//   vocabulary  by rows, of which the first ranks have one more when they do not divide evenly
//   replicated  not: every rank has all of it
//
// A vector is one row in a ParamSpec; here its rows are its elements, of one column.
#pragma once
#include "core/param.hpp"

#include <cstdint>
#include <vector>

namespace isoflop {

struct RowRange {
  int64_t first = 0, count = 0;
};

/// Row `first` of the part is row `whole` of the tensor, and so on.
struct RowRun {
  int64_t first = 0, whole = 0, count = 0;
};

struct TensorCut {
  std::vector<RowRun> runs;         // in order, covering the part's rows
  int64_t rows = 0;                 // of the part
  int64_t first_col = 0, cols = 0;  // columns of the tensor that the part has
  int64_t whole_rows = 0, whole_cols = 0;

  bool whole() const { return rows == whole_rows && cols == whole_cols; }
};

/// The part of `part` of `parts` ranks.
TensorCut cut_of(const ParamSpec& spec, int part, int parts);
/// The same as a row of a table.
ParamSpec cut_spec(const ParamSpec& spec, int part, int parts);
ParamTable cut_table(const ParamTable& table, int part, int parts);

/// Rows of `n` that belong to a part, of which the first have one more where they are uneven.
RowRange part_of(int64_t n, int part, int parts);

/// Contiguous tensors of one type: the part out of the whole, and back into its place.
void take_part(View whole, View part, const TensorCut& cut);
void put_part(View part, View whole, const TensorCut& cut);

}  // namespace isoflop
