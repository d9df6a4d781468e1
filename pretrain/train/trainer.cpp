#include "pretrain/train/trainer.hpp"

#include "core/hash.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/train/score.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <numbers>

namespace isoflop {

namespace {

/// A run that skips this many steps in a row has diverged: no update can bring it back.
constexpr int64_t kSkippedStepsAllowed = 10;

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string tokenizer_text(const Run& run) {
  return run.tokenizer ? run.tokenizer->to_json() : "";
}

Retention retention_of(const RunConfig& config) {
  return {.keep = config.checkpoint.keep,
          .keep_every = config.checkpoint.keep_every,
          .log_spaced = config.checkpoint.schedule == "pythia"};
}

bool due(int64_t step, int64_t every, int64_t last) {
  return step == last || (every > 0 && step % every == 0);
}

}  // namespace

size_t peak_memory() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

Trainer::Trainer(const Run& run,
                 Backend& backend,
                 TrainerOptions options,
                 const std::optional<CheckpointRef>& resume)
    : run_(run),
      options_(std::move(options)),
      sampler_(run.train, run.config.model.context, run.config.data.seed),
      source_([this](uint64_t sequence, std::span<int32_t> window) {
        sampler_.read(sequence, window);
      }),
      step_(run.config, run.batch, run.table, backend),
      metrics_(run.folder),
      progress_({.quiet = options_.quiet}),
      checkpoints_({.run = run.folder,
                    .retention = retention_of(run.config),
                    .tokenizer = tokenizer_text(run),
                    .warn = [this](const std::string& text) { note("warning: " + text); }},
                   run.table),
      control_(run.folder) {
  state_.seed = run.config.data.seed;
  state_.slots = run.batch.slots;
  state_.kernel_plan = options_.kernel_plan;
  state_.config = config_to_toml(run.config, run.origins);
  if (resume)
    restore(*resume);
  else if (options_.initialize)
    options_.initialize(step_.parameters);
  else
    initialize_parameters(run.table, run.config.data.seed, step_.parameters);
  step_.refresh_weights();
  metrics_.truncate_after(state_.step);
  if (run.config.output.tensorboard) tensorboard_.emplace(run.folder / "tb", state_.step);
}

void Trainer::restore(const CheckpointRef& checkpoint) {
  const std::string config = std::move(state_.config);
  state_ = load_checkpoint(checkpoint, run_.table,
                           {&step_.parameters, &step_.optimizer.m, &step_.optimizer.v});
  state_.config = config;
  step_.updates = state_.optimizer_step;
  if (state_.kernel_plan != options_.kernel_plan) {
    if (!options_.accept_new_kernel_plan)
      fail_user(
          "{} was trained with other kernels ({}) than this machine would use ({}), so the bits "
          "would "
          "change; add --new-kernel-plan to go on all the same",
          checkpoint.folder.string(), state_.kernel_plan, options_.kernel_plan);
    state_.kernel_plan = options_.kernel_plan;
  }
  saved_step_ = state_.step;
  note(fmt::format("resuming from {} (step {})", checkpoint.folder.string(), state_.step));
}

TrainSummary Trainer::run() {
  const RunConfig& config = run_.config;
  const int64_t steps = run_.schedule.steps;
  bool stopped = false;
  if (state_.step == 0 && (config.checkpoint.initial || retention_of(config).log_spaced)) save();
  // A checkpoint carries the config of the steps after it, which is what `replay` goes by.
  if (state_.step > 0 && options_.config_changed) save();
  while (state_.step < steps && !stopped) {
    const double start = seconds_now();
    const double rate = run_.schedule.rate(state_.step);
    const StepResult result = step_.run(state_.step, rate, source_);
    ++state_.step;
    state_.tokens += run_.batch.tokens();
    state_.optimizer_step = step_.updates;
    record(result, rate, seconds_now() - start);
    show_progress(result, rate);
    guard(result);
    if (config.eval.sample_every > 0 && state_.step % config.eval.sample_every == 0) show_sample();
    if (state_.step == steps) break;
    if (control_.take_save() || checkpoint_due()) save();
    stopped = control_.take_stop() || (options_.stop && options_.stop());
  }
  if (saved_step_ != state_.step) save();
  if (!checkpoints_.finish())
    fail_io(
        "the last checkpoint could not be saved: {}; free some space and run again with --resume "
        "auto",
        checkpoints_.last_error());
  control_.take_stop();  // came too late: the next run here is not meant
  control_.take_save();
  progress_.finish();
  TrainSummary summary;
  summary.steps = state_.step;
  summary.tokens = state_.tokens;
  summary.train_loss = state_.mean_recent_loss();
  if (std::isfinite(state_.last_valid_loss)) summary.valid_loss = state_.last_valid_loss;
  summary.tokens_per_s =
      compute_seconds_ > 0
          ? static_cast<double>(launch_steps_ * run_.batch.tokens()) / compute_seconds_
          : 0;
  summary.peak_bytes = peak_memory();
  summary.stopped = stopped;
  return summary;
}

// One line of metrics.jsonl per step: first what (config, seed, step) decides, then the machine's
// part.
void Trainer::record(const StepResult& result, double rate, double seconds) {
  compute_seconds_ += seconds;
  ++launch_steps_;
  const double tokens_per_s = static_cast<double>(run_.batch.tokens()) / seconds;
  recent_rate_ = launch_steps_ == 1 ? tokens_per_s : 0.95 * recent_rate_ + 0.05 * tokens_per_s;
  if (!result.skipped) state_.add_loss(result.loss);

  const int64_t step = state_.step, last = run_.schedule.steps;
  std::vector<Metric> metrics = {
      {"train/loss", result.loss}, {"optim/lr", rate}, {"optim/grad_norm", result.grad_norm}};
  if (result.skipped) metrics.push_back({"train/skipped", 1});
  if (!run_.valid.empty() && due(step, run_.config.eval.every, last)) {
    const double loss = validate();
    metrics.push_back({"valid/loss", loss});
    const double bits = loss / std::numbers::ln2 / text_bytes_per_token();
    metrics.push_back({"valid/bits_per_byte", bits});
    note(fmt::format("step {}: validation loss {:.4f}, {:.3f} bits per byte", step, loss, bits));
  }
  std::vector<TextMetric> texts;
  std::string hash;
  if (due(step, run_.config.output.hash_every, last)) {
    const View flat = step_.parameters.flat();
    hash = hash_hex(hash_bytes(flat.data, flat.bytes()));
    texts.push_back({"params/hash", hash});
  }
  metrics.push_back({"perf/tokens_per_s", tokens_per_s});
  metrics.push_back({"perf/step_ms", seconds * 1e3});
  metrics.push_back({"mem/peak_bytes", static_cast<double>(peak_memory())});

  bool written = metrics_.log(step, metrics, texts);
  if (tensorboard_) written &= tensorboard_->scalars(step, metrics);
  if (!written && !metrics_lost_)
    note("warning: metrics could not be written (is the disk full?); training goes on");
  metrics_lost_ = !written;
}

double Trainer::validate() {
  Score score;
  for (const auto& store : run_.valid) {
    const Score part = score_tokens(
        step_.model(), store->tokens(),
        [&](uint64_t first, std::span<int32_t> out) { store->read(first, out); },
        run_.batch.micro_batch);
    score.nats += part.nats;
    score.tokens += part.tokens;
  }
  state_.last_valid_loss = score.loss();
  if (!(state_.best_valid_loss <= score.loss())) state_.best_valid_loss = score.loss();
  return score.loss();
}

/// Of the validation text: turns nats per token into bits per byte.
double Trainer::text_bytes_per_token() const {
  double bytes = 0, tokens = 0;
  for (const auto& store : run_.valid) {
    bytes += static_cast<double>(store->info().text_bytes);
    tokens += static_cast<double>(store->tokens() - 1);
  }
  return bytes / tokens;
}

void Trainer::show_sample() {
  if (!options_.sample) return;
  const std::string text = options_.sample(step_.parameters);
  note(fmt::format("step {} writes: {}", state_.step, text));
  if (tensorboard_) tensorboard_->text(state_.step, "sample", text);
  std::error_code ignored;
  fs::create_directories(run_.folder / "samples", ignored);
  std::ofstream(run_.folder / "samples" / fmt::format("step-{:08}.txt", state_.step))
      << text << "\n";
}

/// Between steps; the last one is saved in any case.
bool Trainer::checkpoint_due() const {
  const CheckpointConfig& config = run_.config.checkpoint;
  return (config.every > 0 && state_.step % config.every == 0) ||
         retention_of(run_.config).for_ever(state_.step);
}

void Trainer::save() {
  checkpoints_.save(state_, step_.parameters, step_.optimizer.m, step_.optimizer.v);
  saved_step_ = state_.step;
}

void Trainer::show_progress(const StepResult& result, double rate) {
  const std::lock_guard lock(output_mutex_);
  progress_.update({.step = state_.step,
                    .steps = run_.schedule.steps,
                    .loss = result.loss,
                    .grad_norm = result.grad_norm,
                    .lr = rate,
                    .tokens_per_s = recent_rate_,
                    .memory_bytes = static_cast<double>(peak_memory()),
                    .eta_seconds = static_cast<double>((run_.schedule.steps - state_.step) *
                                                       run_.batch.tokens()) /
                                   recent_rate_});
}

// Values that are not finite never reach the parameters: the step was skipped. Here we only decide
// when that has happened too often in a row.
void Trainer::guard(const StepResult& result) {
  skipped_in_a_row_ = result.skipped ? skipped_in_a_row_ + 1 : 0;
  if (!result.skipped) return;
  note(fmt::format("step {}: loss {} or gradient norm {} is not finite; the update was skipped",
                   state_.step, result.loss, result.grad_norm));
  if (skipped_in_a_row_ < kSkippedStepsAllowed) return;
  checkpoints_.finish();
  throw DivergedError(fmt::format(
      "training diverged: {} steps in a row were not finite, the last at step {}; the newest "
      "checkpoint is from step {}; try a smaller optimizer.lr or a longer schedule.warmup",
      skipped_in_a_row_, state_.step, saved_step_));
}

void Trainer::note(const std::string& text) {
  const std::lock_guard lock(output_mutex_);
  progress_.note(text);
  std::ofstream(run_.folder / "log.txt", std::ios::app) << text << "\n";
}

}  // namespace isoflop
