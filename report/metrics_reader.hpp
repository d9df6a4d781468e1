// What metrics.jsonl says of a step, to the last bit.
#pragma once
#include "core/file.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct RecordedStep {
  std::optional<double> loss, grad_norm;  // NaN where the file has null
  std::string hash;                       // of the parameters after it; empty where unknown
  bool skipped = false;
  bool left_out = false;
};

/// Steps [first, last] of RUN/metrics.jsonl; the newest line of each. Lines that are not whole are
/// passed over. UserError when the file cannot be read.
std::map<int64_t, RecordedStep> read_metrics(const fs::path& run, int64_t first, int64_t last);

/// A metric over the steps that have it, in order; NaN where the file has null.
struct MetricSeries {
  std::vector<double> steps, values;
};

/// Every number of RUN/metrics.jsonl by name, likewise.
std::map<std::string, MetricSeries> read_metric_series(const fs::path& run);

}  // namespace isoflop
