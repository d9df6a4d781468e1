// Recorder: a step's metrics to everywhere they go: metrics.jsonl, TensorBoard, metrics.prom.
#pragma once
#include "pretrain/train/run.hpp"
#include "report/metrics.hpp"
#include "report/prometheus.hpp"
#include "report/tensorboard.hpp"

#include <optional>
#include <span>
#include <string_view>

namespace isoflop {

class Recorder {
 public:
  /// For a run that goes on after `step`: what was recorded of later steps goes.
  Recorder(const Run& run, int64_t step);

  /// False when something could not be written (a full disk), the first time in a row.
  bool log(int64_t step, std::span<const Metric> metrics, std::span<const TextMetric> texts);
  void text(int64_t step, std::string_view tag, std::string_view markdown);
  /// The run goes back to `step`.
  void go_back(int64_t step);

 private:
  const Run& run_;
  MetricsSink metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
  std::optional<PrometheusFile> prometheus_;
  bool lost_ = false;
};

}  // namespace isoflop
