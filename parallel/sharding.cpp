#include "parallel/sharding.hpp"

#include "core/math.hpp"
#include "parallel/pipeline.hpp"

#include <algorithm>
#include <numeric>

namespace isoflop {

namespace {

/// Muon needs all of a matrix to update any of it.
bool is_whole(const ParamSpec& spec) {
  return spec.update == Update::muon;
}

/// Rows that are not parted.
int64_t panel_rows(const ParamSpec& spec) {
  if (spec.is_vector()) return spec.rows;
  return 64 * (64 / std::gcd(spec.cols, int64_t{64}));  // rows * cols is a multiple of kNormChunk
}

}  // namespace

std::vector<Bucket> make_buckets(const ParamTable& table) {
  std::vector<Bucket> buckets;
  const auto ready_together = [](const ParamSpec& a, const ParamSpec& b) {
    return a.stage_block == b.stage_block && a.feed_forward == b.feed_forward;
  };
  for (size_t i = 0; i < table.size(); ++i) {
    if (i == 0 || !ready_together(table[i], table[i - 1])) buckets.push_back({i, i});
    buckets.back().last = i + 1;
  }
  return buckets;
}

// Within a bucket rank r's share ends where the elements before come closest to (r+1)/ranks of
// them. A matrix that stays whole goes to the rank that has least of such; they take long to
// update.
Sharding::Sharding(const ParamTable& whole, const ProcessGrid& grid)
    : grid_(grid), buckets_(make_buckets(whole)), cuts_(whole.size()) {
  static_assert(kNormChunk == 64 * 64);
  const int ranks = grid.shape().dp, parts = grid.shape().tp;
  int64_t blocks = 0;
  for (const ParamSpec& spec : whole) blocks = std::max<int64_t>(blocks, spec.stage_block);
  for (const ParamSpec& spec : whole) {
    stages_.push_back(stage_of_block(spec.stage_block, blocks, grid.shape().pp));
    cut_.push_back(spec.placement != Placement::replicated);
    std::vector<int64_t>& rows = part_rows_.emplace_back();
    for (int part = 0; part < parts; ++part) rows.push_back(cut_spec(spec, part, parts).rows);
  }
  const ParamTable table = cut_table(whole, 0, parts);  // no part has more rows
  const std::vector<int64_t> none(static_cast<size_t>(ranks), 0);
  std::vector<std::vector<int64_t>> whole_elements(static_cast<size_t>(grid.shape().pp), none);
  for (const Bucket& bucket : buckets_) {
    int64_t total = 0, done = 0;
    for (size_t i = bucket.first; i < bucket.last; ++i)
      if (!is_whole(table[i])) total += table[i].size();
    int owner = 0;
    for (size_t i = bucket.first; i < bucket.last; ++i) {
      const ParamSpec& spec = table[i];
      std::vector<int64_t>& cuts = cuts_[i];
      cuts.assign(static_cast<size_t>(ranks) + 1, 0);
      if (is_whole(spec)) {
        std::vector<int64_t>& has = whole_elements[static_cast<size_t>(stages_[i])];
        const auto least = std::min_element(has.begin(), has.end());
        *least += spec.size();
        std::fill(cuts.begin() + (least - has.begin()) + 1, cuts.end(), spec.rows);
        continue;
      }
      const int64_t panel = panel_rows(spec);
      for (int64_t row = 0; row < spec.rows; row += panel) {
        const int64_t rows = std::min(panel, spec.rows - row), elements = rows * spec.cols;
        while (owner + 1 < ranks && (2 * done + elements) * ranks > 2 * total * (owner + 1))
          ++owner;
        for (int r = owner; r < ranks; ++r) cuts[static_cast<size_t>(r) + 1] = row + rows;
        done += elements;
      }
    }
  }
}

RowRange Sharding::rows_of_copy(size_t param, int dp, int tp) const {
  const std::vector<int64_t>& cuts = cuts_[param];
  const auto r = static_cast<size_t>(dp);
  const int64_t most = part_rows_[param][static_cast<size_t>(tp)];
  const int64_t first = std::min(cuts[r], most);
  return {first, std::min(cuts[r + 1], most) - first};
}

ParamTable Sharding::table_of(const ParamTable& table, int rank) const {
  ParamTable mine = cut_table(table, grid_.place_of(rank).tp, grid_.shape().tp);
  for (size_t i = 0; i < mine.size(); ++i) mine[i].rows = rows(i, rank).count;
  return mine;
}

std::vector<bool> Sharding::holds() const {
  std::vector<bool> holds;
  for (size_t i = 0; i < cuts_.size(); ++i) holds.push_back(rows(i).count > 0);
  return holds;
}

std::vector<bool> Sharding::stage_holds() const {
  std::vector<bool> holds;
  for (size_t i = 0; i < cuts_.size(); ++i) holds.push_back(in_stage(i));
  return holds;
}

size_t Sharding::most_bytes(const ParamTable& table, DType dtype) const {
  size_t most = 0;
  for (int r = 0; r < ranks(); ++r)
    most = std::max(most, ParamBuffer::bytes_for(table_of(table, r), dtype));
  return most;
}

static ParamTable with_second_moment(ParamTable share) {
  for (ParamSpec& spec : share)
    if (!spec.has_second_moment()) spec.rows = 0;
  return share;
}

ParamBuffer Sharding::second_moments(const ParamTable& table,
                                     DType dtype,
                                     const std::string& what,
                                     const Allocate& allocate) const {
  const ParamTable share = with_second_moment(table_of(table, rank()));
  std::vector<bool> held;
  for (const ParamSpec& spec : share) held.push_back(spec.rows > 0);
  return ParamBuffer(share, dtype, what, held, allocate);
}

size_t Sharding::second_moment_bytes(const ParamTable& table, DType dtype, int rank) const {
  return ParamBuffer::bytes_for(with_second_moment(table_of(table, rank)), dtype);
}

size_t Sharding::most_second_moment_bytes(const ParamTable& table, DType dtype) const {
  size_t most = 0;
  for (int r = 0; r < ranks(); ++r) most = std::max(most, second_moment_bytes(table, dtype, r));
  return most;
}

}  // namespace isoflop
