#include "parallel/tensor_cut.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstring>

namespace isoflop {

namespace {

int64_t row_count(const ParamSpec& spec) {
  return spec.is_vector() ? spec.cols : spec.rows;
}

/// What the tensor is stacked from.
std::vector<int64_t> stacked(const ParamSpec& spec) {
  return spec.parts.empty() ? std::vector<int64_t>{row_count(spec)} : spec.parts;
}

int64_t exact_part(int64_t n, int parts, const ParamSpec& spec) {
  ISOFLOP_CHECK(n % parts == 0, "{}: {} do not divide by {}", spec.name, n, parts);
  return n / parts;
}

/// Calls visit(row of the part, row of the whole).
template <class Visit>
void for_each_row(const TensorCut& cut, Visit&& visit) {
  for (const RowRun& run : cut.runs)
    for (int64_t i = 0; i < run.count; ++i) visit(run.first + i, run.whole + i);
}

std::byte* element(View view, int64_t index) {
  return static_cast<std::byte*>(view.data) + static_cast<size_t>(index) * size_of(view.dtype);
}

}  // namespace

RowRange part_of(int64_t n, int part, int parts) {
  const int64_t each = n / parts, more = n % parts;
  return {part * each + std::min<int64_t>(part, more), each + (part < more ? 1 : 0)};
}

TensorCut cut_of(const ParamSpec& spec, int part, int parts) {
  const int64_t rows = row_count(spec), cols = spec.is_vector() ? 1 : spec.cols;
  TensorCut cut = {{}, 0, 0, cols, rows, cols};
  const auto add = [&](int64_t whole, int64_t count) {
    cut.runs.push_back({cut.rows, whole, count});
    cut.rows += count;
  };
  switch (spec.placement) {
    case Placement::replicated:
      add(0, rows);
      break;
    case Placement::column: {
      int64_t first = 0;
      for (const int64_t outputs : stacked(spec)) {
        const int64_t each = exact_part(outputs, parts, spec);
        add(first + part * each, each);
        first += outputs;
      }
      break;
    }
    case Placement::row:
      cut.cols = exact_part(cols, parts, spec);
      cut.first_col = part * cut.cols;
      add(0, rows);
      break;
    case Placement::vocabulary: {
      const RowRange mine = part_of(rows, part, parts);
      add(mine.first, mine.count);
      break;
    }
  }
  return cut;
}

ParamSpec cut_spec(const ParamSpec& spec, int part, int parts) {
  ParamSpec mine = spec;
  if (parts == 1) return mine;
  const TensorCut cut = cut_of(spec, part, parts);
  (spec.is_vector() ? mine.cols : mine.rows) = cut.rows;
  if (!spec.is_vector()) mine.cols = cut.cols;
  for (int64_t& outputs : mine.parts) outputs /= parts;
  return mine;
}

ParamTable cut_table(const ParamTable& table, int part, int parts) {
  ParamTable mine;
  for (const ParamSpec& spec : table) mine.push_back(cut_spec(spec, part, parts));
  return mine;
}

void take_part(View whole, View part, const TensorCut& cut) {
  const size_t bytes = static_cast<size_t>(cut.cols) * size_of(whole.dtype);
  for_each_row(cut, [&](int64_t here, int64_t there) {
    std::memcpy(element(part, here * cut.cols),
                element(whole, there * cut.whole_cols + cut.first_col), bytes);
  });
}

void put_part(View part, View whole, const TensorCut& cut) {
  const size_t bytes = static_cast<size_t>(cut.cols) * size_of(whole.dtype);
  for_each_row(cut, [&](int64_t here, int64_t there) {
    std::memcpy(element(whole, there * cut.whole_cols + cut.first_col),
                element(part, here * cut.cols), bytes);
  });
}

}  // namespace isoflop
