// metrics.prom: the newest value of every metric in Prometheus' text format, for the text file
// collector of its node exporter. Replaced as a whole, so that a reader never sees half of one; not
// synced, since it is worth nothing after a crash.
#pragma once
#include "report/metrics.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace isoflop {

/// train/loss becomes isoflop_train_loss.
std::string prometheus_name(std::string_view metric);
/// A label's value between its quotes.
std::string prometheus_escaped(std::string_view text);

class PrometheusFile {
 public:
  /// RUN/metrics.prom; every line is labelled run="name". Not more often than every `interval_s`.
  PrometheusFile(const fs::path& run, std::string_view name, double interval_s = 5);

  /// Validation metrics stay until there are newer ones; statistics of single parameters (layer/*)
  /// are not for here. True unless it had to be written and could not be.
  bool update(int64_t step, int64_t steps, std::span<const Metric> metrics);

 private:
  bool write(const std::string& content) const;

  fs::path path_;
  std::string labels_;
  double interval_s_;
  double last_ = -1;  // seconds of the steady clock
  std::map<std::string, double, std::less<>> validation_;
};

}  // namespace isoflop
