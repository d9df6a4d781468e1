#include "pretrain/train/recorder.hpp"

#include <utility>

namespace isoflop {

Recorder::Recorder(const Run& run, int64_t step) : run_(run), metrics_(run.folder) {
  if (run.config.output.prometheus) prometheus_.emplace(run.folder, run.config.output.name);
  go_back(step);
}

void Recorder::go_back(int64_t step) {
  metrics_.truncate_after(step);
  if (run_.config.output.tensorboard) tensorboard_.emplace(run_.folder / "tb", step);
}

bool Recorder::log(int64_t step,
                   std::span<const Metric> metrics,
                   std::span<const TextMetric> texts) {
  bool written = metrics_.log(step, metrics, texts);
  if (tensorboard_) written &= tensorboard_->scalars(step, metrics);
  if (prometheus_) written &= prometheus_->update(step, run_.schedule.steps, metrics);
  return std::exchange(lost_, !written) || written;
}

void Recorder::text(int64_t step, std::string_view tag, std::string_view markdown) {
  if (tensorboard_) tensorboard_->text(step, tag, markdown);
}

}  // namespace isoflop
