// The table of a sweep: one row per finished trial, as CSV that `fit`, `transfer` and the report
// read (docs/formats/sweep.md). Columns: parameters, tokens, flops, loss, train_loss, status,
// last_step, parametrization, width, layers, steps, seed, then the swept keys.
#pragma once
#include "muP/optimum.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct SweepRow {
  std::string parametrization;  // sp | mup | completep
  int64_t width = 0, layers = 0, steps = 0;
  uint64_t seed = 0;
  std::vector<std::string> values;               // of SweepTable::keys, in shortest form
  double parameters = 0, tokens = 0, flops = 0;  // of the trial as planned
  double loss =
      0;  // nats per held-out token, of the training text's end without such; NaN diverged
  double train_loss = 0;  // mean of the last tenth of the steps, at most 50
  int64_t last_step = 0;  // the one that was not finite, or the last

  bool diverged() const;
  /// The same trial: everything up to `values`.
  bool same_trial(const SweepRow& other) const;
};

struct SweepTable {
  std::vector<std::string> keys;
  std::vector<SweepRow> rows;

  const SweepRow* find(const SweepRow& trial) const;
};

/// Rows sorted by model, values and seed, so that the order in which trials ended does not show.
std::string to_csv(const SweepTable& table);
/// UserError names file, line and column.
SweepTable parse_sweep(std::string_view text, const std::string& origin);

/// Trials of one model and length (tokens within 5 %): what an optimum is fitted to.
struct SweepGroup {
  std::string parametrization;
  int64_t width = 0, layers = 0, steps = 0;
  double parameters = 0, tokens = 0, flops = 0;
  std::vector<SweepRow> rows;
};
std::vector<SweepGroup> groups_of(const SweepTable& table);

/// What fit_optimum is told about key number `key`: for each of its values the trials of the best
/// setting of the other keys. With one key: all trials.
std::vector<SweepPoint> profile(const SweepGroup& group, size_t key);

}  // namespace isoflop
