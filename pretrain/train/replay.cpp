#include "pretrain/train/replay.hpp"

#include "core/error.hpp"
#include "report/metrics_reader.hpp"

#include <cmath>

namespace isoflop {

namespace {

/// Bits, except that metrics.jsonl has one null for all that is not finite.
bool same(double a, double b) {
  return a == b || (!std::isfinite(a) && std::isnan(b));
}

const char* word(bool skipped, bool left_out) {
  return left_out ? "left out" : skipped ? "skipped" : "applied";
}

/// Collects the first difference of a step.
struct Comparison {
  ReplayReport& report;

  void fate(const RecordedStep& recorded, Fate now) {
    const std::string was = word(recorded.skipped, recorded.left_out);
    const std::string is =
        now == Fate::rewind ? "rewound" : word(now == Fate::skipped, now == Fate::left_out);
    differ(was != is, "update", was, is);
  }
  void number(const char* what, const std::optional<double>& recorded, double now) {
    if (recorded)
      differ(!same(now, *recorded), what, fmt::format("{}", *recorded), fmt::format("{}", now));
  }
  void hash(const std::string& recorded, const std::string& now) {
    if (!recorded.empty()) differ(recorded != now, "parameter hash", recorded, now);
  }

 private:
  void differ(bool different, const char* what, const std::string& was, const std::string& is) {
    ++report.compared;
    if (different && report.difference.empty())
      report.difference =
          fmt::format("{} of step {}: recorded {}, now {}", what, report.step, was, is);
  }
};

}  // namespace

ReplayReport replay(const Run& run,
                    Backend& backend,
                    const std::optional<CheckpointRef>& from,
                    const TrainState& newest,
                    const Initializer& initialize,
                    int64_t step,
                    const std::function<void(int64_t)>& progress) {
  ReplayReport report;
  report.from = from ? from->step() : 0;
  const std::map<int64_t, RecordedStep> recorded = read_metrics(run.folder, report.from + 1, step);
  if (!recorded.count(step))
    fail_user("{} has no line for step {}, so there is nothing to compare with",
              (run.folder / "metrics.jsonl").string(), step);
  Stepper stepper(run, backend, initialize);
  if (from)
    stepper.load(*from);
  else
    stepper.initialize();
  stepper.state.guard.left_out = newest.guard.left_out;

  while (report.step < step && report.difference.empty()) {
    const StepRecord now = stepper.next();
    report.step = now.step;
    const auto line = recorded.find(now.step);
    if (line != recorded.end()) {
      Comparison comparison{report};
      comparison.fate(line->second, now.verdict.fate);
      report.loss = report.grad_norm = std::nullopt;
      if (now.verdict.fate != Fate::left_out) {
        report.loss = now.result.loss;
        report.grad_norm = now.result.grad_norm;
        comparison.number("loss", line->second.loss, now.result.loss);
        comparison.number("gradient norm", line->second.grad_norm, now.result.grad_norm);
      }
      const bool last = now.step == step;
      if (last || !line->second.hash.empty())
        report.hash = parameter_hash(backend, stepper.train_step().parameters);
      comparison.hash(line->second.hash, report.hash);
    }
    if (now.verdict.fate == Fate::rewind) break;
    progress(now.step);
  }
  return report;
}

}  // namespace isoflop
