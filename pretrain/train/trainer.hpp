// Trainer: carries out a Run. The loop, and around it what a long run needs: metrics, validation,
// checkpoints, leaving when asked, going on where it stopped. Over several ranks every one has a
// trainer; the first writes the run folder and speaks, and they agree on what comes from outside.
#pragma once
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/checkpoint/writer.hpp"
#include "pretrain/train/control.hpp"
#include "pretrain/train/forecast.hpp"
#include "pretrain/train/layer_stats.hpp"
#include "pretrain/train/profiling_backend.hpp"
#include "pretrain/train/recorder.hpp"
#include "pretrain/train/stepper.hpp"
#include "report/progress.hpp"
#include "report/trace.hpp"

#include <functional>
#include <mutex>
#include <optional>
#include <string>

namespace isoflop {

struct TrainerOptions {
  bool quiet = false;
  std::string kernel_plan;  // text of kernel-plan.json: what chose the kernels
  /// The plan with what was chosen since; asked for before each save. Empty = it stays as it is.
  std::function<std::string()> kernel_plan_now;
  bool accept_new_kernel_plan = false;  // resume although this machine cannot replay the old one
  bool config_changed = false;          // since the checkpoint: it is saved anew with today's
  std::function<bool()> stop;           // asked after every step; true: save and leave
  /// Fills the parameters of step 0; empty = as model.initializer says.
  Initializer initialize;
  Trace* trace = nullptr;  // what the time goes to; borrowed
  /// The trainer's backend, where it can tell what the time goes to; borrowed.
  ProfilingBackend* profiler = nullptr;
  double product_rate = 0;        // FLOP/s of matrix products of all ranks, measured; 0 = not
  Communicator* ranks = nullptr;  // that train together; null = one alone. Borrowed
  Communicator* wire = nullptr;   // the same for what lies in a device's memory (TrainStep)
  /// Text to show while learning; the model is at rest during the call. Empty = no samples.
  std::function<std::string(const ParamBuffer& parameters)> sample;
};

struct TrainSummary {
  int64_t steps = 0;
  int64_t tokens = 0;
  double train_loss = 0;  // mean of the last 50 steps
  std::optional<double> valid_loss;
  double tokens_per_s = 0;  // of the steps alone, this launch
  size_t peak_bytes = 0;    // of the process, or of a device's own memory
  bool stopped = false;     // on request, after saving
};

class Trainer {
 public:
  /// Starts at step 0, or goes on from `resume`. The run folder exists and is writable.
  Trainer(const Run& run,
          Backend& backend,
          TrainerOptions options,
          const std::optional<CheckpointRef>& resume);

  /// Runs to the end, or until asked to stop. DivergedError when steps keep being skipped or
  /// rewound, IoError when the last checkpoint could not be saved.
  TrainSummary run();

 private:
  void restore(const CheckpointRef& checkpoint);
  StepRecord take_step();
  StepRecord take_profiled_step();
  double mfu() const;  // NaN when the limit is not known
  /// Bits of what files and signals ask for, from any rank, agreed on by all.
  enum Request { kSave = 1, kStop = 2 };
  int64_t requests();
  /// Decided by the first rank.
  std::optional<CheckpointRef> checkpoint_before(int64_t step);
  std::vector<Metric> wire_metrics();
  void after_step(const StepRecord& record, double seconds);
  void go_back(const StepRecord& record);
  void log(const StepRecord& record, double seconds);
  void gather_layer_stats();
  void validate(const ValidSet& set, std::vector<Metric>& metrics);
  void show_sample();
  /// What a plan lets expect at this step, to metrics.
  void add_forecast(int64_t step, std::vector<Metric>& metrics) const;
  void watch_plan(int64_t step);
  void compare_with_plan();
  bool checkpoint_due() const;
  void save();
  void show_progress(const StepRecord& record);
  void finish_saving();
  TrainSummary summary(bool stopped) const;
  size_t peak_bytes() const;  // of the memory that is computed in
  void tell(const SavedCheckpoint& saved);
  /// A line of log.txt; on the screen as well when said aloud.
  void note(const std::string& text, bool aloud = true);

  const Run& run_;
  Backend& backend_;
  TrainerOptions options_;
  bool speaks_;  // the first rank
  Stepper stepper_;
  std::optional<Recorder> recorder_;  // of the first rank
  std::optional<LayerStats> layer_stats_;
  std::mutex output_mutex_;  // the checkpoint writer's thread warns, too
  ProgressLine progress_;
  CheckpointWriter checkpoints_;
  ControlFiles control_;
  int64_t saved_step_ = -1;
  double compute_seconds_ = 0;  // of this launch's steps
  int64_t launch_steps_ = 0, launch_tokens_ = 0;
  double recent_rate_ = 0;  // tokens/s, moving average for the progress line
  OpTotal costliest_{};     // of the last step that was profiled
  double profiled_seconds_ = 0;
  WireTotals wire_;                          // until the last step
  double hidden_ = ProgressState::kUnknown;  // of the last step's messages
  Forecast forecast_;
  bool left_plan_ = false;  // and that was said
};

/// Bytes of resident memory at their highest so far.
size_t peak_memory();
/// Bytes of resident memory now.
size_t resident_memory();

}  // namespace isoflop
