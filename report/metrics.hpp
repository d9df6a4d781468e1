// metrics.jsonl: one JSON object per line, appended with a single write so that a reader following
// the file (tail -f, a plot) never sees half a line of a healthy run.
//
// A line holds "step", then what (config, seed, step) decides, in the caller's order and in
// shortest round-trip form, then what the machine decides (perf/*, mem/*, "time" in Unix seconds).
// The first part is therefore equal, byte for byte, in two runs of the same bits: `diff` and the
// resume tests compare deterministic_part() of the lines. Values that are not finite are written as
// null.
#pragma once
#include "core/file.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace isoflop {

struct Metric {
  std::string_view
      name;  // train/loss, valid/loss, optim/lr, optim/grad_norm, perf/mfu, mem/peak_bytes
  double value;
};

struct TextMetric {
  std::string_view name;  // params/hash
  std::string_view value;
};

class MetricsSink {
 public:
  /// Opens RUN/metrics.jsonl for appending, creating it when absent. UserError when it cannot.
  explicit MetricsSink(const fs::path& run);
  ~MetricsSink();
  MetricsSink(const MetricsSink&) = delete;
  MetricsSink& operator=(const MetricsSink&) = delete;

  /// Appends one line. False when it could not be written (a full disk): training goes on, the
  /// caller warns; a torn line is closed by the next one and dropped by truncate_after().
  bool log(int64_t step, std::span<const Metric> metrics, std::span<const TextMetric> texts = {});

  /// At resume from `step`: drops lines of later steps and anything that is not a whole line, so
  /// that the file continues as if the run had never gone further. Atomic.
  void truncate_after(int64_t step);

 private:
  void open();

  fs::path path_;
  int fd_ = -1;
  bool torn_ = false;  // the last line lacks its end
  std::string line_;   // reused from call to call
};

/// The line without its machine-dependent fields.
std::string deterministic_part(std::string_view line);

}  // namespace isoflop
