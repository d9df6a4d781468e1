// A run, and two runs side by side, as a page for people (page.hpp).
#pragma once
#include "core/file.hpp"
#include "report/metrics_reader.hpp"

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

/// What a run folder says of a run; what is not there is empty.
struct RunRecord {
  std::string name;
  std::map<std::string, MetricSeries> metrics;
  std::string command, config, environment, kernel_plan, log;
  std::vector<std::pair<std::string, std::string>> samples;  // step and text, the first first

  const MetricSeries* find(const std::string& metric) const;
};

/// UserError when the folder has no metrics.jsonl.
RunRecord read_run_record(const fs::path& run);

/// Rows for the table at the top, besides what the metrics say.
using Facts = std::vector<std::pair<std::string, std::string>>;

std::string run_page(const RunRecord& run, const Facts& facts);

/// How two loss curves differ at the end: the mean of b - a over the last part of the steps that
/// both have, with an interval from the spread of the means of consecutive blocks, since losses of
/// neighbouring steps belong together. Means that lie further apart than the interval says are not
/// the luck of these steps; another seed may still differ by more.
struct LossDifference {
  int64_t first_step = 0, last_step = 0, blocks = 0;
  double mean = 0;        // nats, b - a
  double half_width = 0;  // of the 95 % interval (Student's t)

  bool clear() const { return std::abs(mean) > half_width; }
};
/// Over the last fifth of the common steps, in ten blocks; nothing is known (0 blocks) when those
/// are fewer than 20 steps.
LossDifference compare_losses(const MetricSeries& a, const MetricSeries& b);

/// In words: "b is lower by 0.012 ± 0.004 nats over steps 81 to 100".
std::string in_words(const LossDifference& difference,
                     const std::string& name_a,
                     const std::string& name_b);

struct KeyDifference {
  std::string key, a, b;
};

std::string comparison_page(const RunRecord& a,
                            const RunRecord& b,
                            const std::vector<KeyDifference>& config);

}  // namespace isoflop
