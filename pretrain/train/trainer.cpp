#include "pretrain/train/trainer.hpp"

#include "core/hash.hpp"
#include "ops/host_copy.hpp"
#include "parallel/pulse.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/score.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numbers>

namespace isoflop {

namespace {

constexpr int64_t kProfileEvery = 64;  // steps
constexpr double kLongSave = 1;        // seconds; a shorter one is not worth a line on the screen

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
          .log_spaced = config.checkpoint.schedule == "pythia",
          .behind = config.guard.spikes == "rewind" ? config.guard.around + 1 : 0};
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

size_t resident_memory() {
  std::ifstream file("/proc/self/statm");
  size_t all = 0, resident = 0;
  file >> all >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

Trainer::Trainer(const Run& run,
                 Backend& backend,
                 TrainerOptions options,
                 const std::optional<CheckpointRef>& resume)
    : run_(run),
      backend_(backend),
      options_(std::move(options)),
      speaks_(!options_.ranks || options_.ranks->is_root()),
      stepper_(run, backend, options_.initialize, options_.trace, options_.ranks, options_.wire),
      progress_({.quiet = options_.quiet || !speaks_}),
      checkpoints_({.run = run.folder,
                    .retention = retention_of(run.config),
                    .tokenizer = tokenizer_text(run),
                    .warn = [this](const std::string& text) { note("warning: " + text); },
                    .saved = [this](const SavedCheckpoint& saved) { tell(saved); },
                    .ranks = options_.ranks,
                    .backend = &backend},
                   run.table,
                   stepper_.train_step().sharding()),
      control_(run.folder),
      forecast_(run.config.plan, run.schedule) {
  if (speaks_) recorder_.emplace(run, resume ? resume->step() : 0);
  if (run.config.output.layer_stats_every > 0)
    layer_stats_.emplace(run.table, backend, stepper_.train_step().sharding().stage_holds());
  if (resume)
    restore(*resume);
  else
    stepper_.initialize();
  stepper_.state.kernel_plan = options_.kernel_plan;
  stepper_.state.config = config_to_toml(run.config, run.origins);
}

void Trainer::restore(const CheckpointRef& checkpoint) {
  const InPhase phase(Phase::restore);
  stepper_.load(checkpoint);
  const std::string& stored = stepper_.state.kernel_plan;
  if (stored != options_.kernel_plan && !options_.accept_new_kernel_plan)
    fail_user(
        "{} was trained with other kernels ({}) than this machine would use ({}), so the bits "
        "would "
        "change; add --new-kernel-plan to go on all the same",
        checkpoint.folder.string(), stored, options_.kernel_plan);
  saved_step_ = checkpoint.step();
  note(fmt::format("resuming from {} (step {})", checkpoint.folder.string(), checkpoint.step()));
}

TrainSummary Trainer::run() {
  const TrainState& state = stepper_.state;
  const CheckpointConfig& config = run_.config.checkpoint;
  bool stopped = false;
  if (state.step == 0 && (config.initial || retention_of(run_.config).log_spaced)) save();
  // A checkpoint carries the config of the steps after it, which is what `replay` goes by.
  if (state.step > 0 && options_.config_changed) save();
  while (state.step < run_.schedule.steps && !stopped) {
    const double start = seconds_now();
    const StepRecord record = take_step();
    pulse().end_step();
    if (record.verdict.fate == Fate::rewind) {
      go_back(record);
      continue;
    }
    after_step(record, seconds_now() - start);
    if (state.step == run_.schedule.steps) break;
    const int64_t asked = requests();
    if ((asked & kSave) || checkpoint_due()) save();
    stopped = asked & kStop;
  }
  if (saved_step_ != state.step) save();
  finish_saving();
  if (!stopped) compare_with_plan();
  if (speaks_) {
    control_.take_stop();  // came too late: the next run here is not meant
    control_.take_save();
  }
  progress_.finish();
  return summary(stopped);
}

int64_t Trainer::requests() {
  int64_t asked = 0;
  if (speaks_ && control_.take_save()) asked |= kSave;
  if (speaks_ && control_.take_stop()) asked |= kStop;
  if (options_.stop && options_.stop()) asked |= kStop;
  if (!options_.ranks) return asked;
  int64_t all = 0;
  for (const int64_t one : options_.ranks->gather(asked)) all |= one;
  return all;
}

StepRecord Trainer::take_step() {
  pulse().begin_step(stepper_.state.step + 1);
  const bool look = layer_stats_ && due(stepper_.state.step + 1,
                                        run_.config.output.layer_stats_every, run_.schedule.steps);
  stepper_.watch(look ? &*layer_stats_ : nullptr);
  try {
    // Not the first, which is cold. Under --profile all steps are measured anyway.
    const bool profiled = options_.profiler && launch_steps_ % kProfileEvery == 1;
    return profiled ? take_profiled_step() : stepper_.next();
  } catch (const DivergedError& error) {
    checkpoints_.finish();
    throw DivergedError(
        fmt::format("{}; the newest checkpoint is from step {}", error.what(), saved_step_));
  }
}

StepRecord Trainer::take_profiled_step() {
  ProfilingBackend& profiler = *options_.profiler;
  profiler.forget_totals();
  profiler.measure(true);
  const double start = seconds_now();
  const StepRecord record = stepper_.next();
  profiled_seconds_ = seconds_now() - start;
  profiler.measure(options_.trace != nullptr);
  for (const OpTotal& total : profiler.totals())
    if (costliest_.seconds < total.seconds || &total == &profiler.totals().front())
      costliest_ = total;
  return record;
}

double Trainer::mfu() const {
  if (options_.product_rate <= 0) return ProgressState::kUnknown;
  return training_flops_per_token(run_.config.model) * recent_rate_ / options_.product_rate;
}

void Trainer::after_step(const StepRecord& record, double seconds) {
  if (record.verdict.fate == Fate::skipped)
    note(fmt::format("step {}: {}; the update was skipped", record.step, record.verdict.reason));
  log(record, seconds);
  show_progress(record);
  watch_plan(record.step);
  const int64_t every = run_.config.eval.sample_every;
  if (every > 0 && record.step % every == 0) show_sample();
}

// Which checkpoint it is does not matter to the bits (guard.hpp); the newest one costs least.
void Trainer::go_back(const StepRecord& record) {
  const InPhase phase(Phase::restore);
  checkpoints_.finish();
  const int64_t last = stepper_.guard().last_good_step(record.step);
  const std::optional<CheckpointRef> checkpoint = checkpoint_before(last);
  const int64_t to = checkpoint ? checkpoint->step() : 0;
  note(fmt::format("step {}: {}; going back to step {}, leaving out {} steps around it",
                   record.step, record.verdict.reason, to, 2 * run_.config.guard.around + 1));
  stepper_.rewind(checkpoint, record.step);
  checkpoints_.forget_after(checkpoint ? to : -1);  // they belong to a way not taken
  if (recorder_) recorder_->go_back(to);
  saved_step_ = checkpoint ? to : -1;
}

std::optional<CheckpointRef> Trainer::checkpoint_before(int64_t step) {
  if (!options_.ranks) return find_newest_up_to(run_.folder, step);
  std::optional<CheckpointRef> found;
  if (speaks_) found = find_newest_up_to(run_.folder, step);
  const std::string folder =
      options_.ranks->broadcast_text(found ? found->folder.string() : std::string(), 0);
  if (!speaks_ && !folder.empty()) found = CheckpointRef{folder, read_manifest(folder)};
  return found;
}

// Since the line before, validation included: how long something was on the wire, how long this
// rank did nothing but wait for it, and so what part of the wire's time was hidden behind
// computation.
std::vector<Metric> Trainer::wire_metrics() {
  const WireTotals before = wire_;
  wire_ = stepper_.train_step().wire_totals();
  const double busy = wire_.busy_seconds - before.busy_seconds;
  const double waited = wire_.wait_seconds - before.wait_seconds;
  std::vector<Metric> metrics = {
      {"perf/comm_wire_ms", busy * 1e3},
      {"perf/comm_bytes", static_cast<double>(wire_.sent_bytes - before.sent_bytes)}};
  if (options_.wire) return metrics;  // a device's queue waits, which the host does not see
  metrics.push_back({"perf/comm_wait_ms", waited * 1e3});
  if (busy > 0) {
    hidden_ = std::clamp(1 - waited / busy, 0.0, 1.0);
    metrics.push_back({"perf/comm_hidden", hidden_});
  }
  return metrics;
}

void Trainer::finish_saving() {
  const InPhase phase(Phase::save);
  if (!checkpoints_.finish())
    fail_io(
        "the last checkpoint could not be saved: {}; free some space and run again with --resume "
        "auto",
        checkpoints_.last_error());
}

size_t Trainer::peak_bytes() const {
  return backend_.in_host_memory() ? peak_memory() : backend_.peak_bytes();
}

TrainSummary Trainer::summary(bool stopped) const {
  const TrainState& state = stepper_.state;
  TrainSummary summary;
  summary.steps = state.step;
  summary.tokens = state.tokens;
  summary.train_loss = state.mean_recent_loss();
  if (std::isfinite(state.last_valid_loss)) summary.valid_loss = state.last_valid_loss;
  summary.tokens_per_s =
      compute_seconds_ > 0 ? static_cast<double>(launch_tokens_) / compute_seconds_ : 0;
  summary.peak_bytes = peak_bytes();
  summary.stopped = stopped;
  return summary;
}

// One line of metrics.jsonl per step: first what (config, seed, step) decides, then the machine's
// part.
void Trainer::log(const StepRecord& record, double seconds) {
  const bool computed = record.verdict.fate != Fate::left_out;
  const int64_t tokens = run_.batch.tokens_at(record.step - 1);
  const double tokens_per_s = static_cast<double>(tokens) / seconds;
  if (computed) {
    compute_seconds_ += seconds;
    launch_tokens_ += tokens;
    recent_rate_ = launch_steps_++ == 0 ? tokens_per_s : 0.95 * recent_rate_ + 0.05 * tokens_per_s;
  }
  std::vector<Metric> metrics;
  if (computed) metrics.push_back({"train/loss", record.result.loss});
  metrics.push_back({"optim/lr", record.rate});
  if (computed) metrics.push_back({"optim/grad_norm", record.result.grad_norm});
  if (record.verdict.fate == Fate::skipped) metrics.push_back({"train/skipped", 1});
  if (!computed) metrics.push_back({"train/left_out", 1});

  const int64_t step = record.step, last = run_.schedule.steps;
  if (!run_.valid.empty() && due(step, run_.config.eval.every, last)) {
    for (const ValidSet& set : run_.valid) validate(set, metrics);
  }
  if (record.verdict.fate == Fate::applied && layer_stats_ &&
      due(step, run_.config.output.layer_stats_every, last)) {
    gather_layer_stats();
    metrics.insert(metrics.end(), layer_stats_->metrics().begin(), layer_stats_->metrics().end());
  }
  if (forecast_) add_forecast(step, metrics);
  std::vector<TextMetric> texts;
  std::string hash;
  if (due(step, run_.config.output.hash_every, last)) {
    hash = parameter_hash(stepper_.train_step());
    texts.push_back({"params/hash", hash});
  }
  if (computed) metrics.push_back({"perf/tokens_per_s", tokens_per_s});
  metrics.push_back({"perf/step_ms", seconds * 1e3});
  if (computed && options_.product_rate > 0) metrics.push_back({"perf/mfu", mfu()});
  metrics.push_back({"mem/peak_bytes", static_cast<double>(peak_bytes())});
  if (options_.ranks && options_.ranks->size() > 1)
    for (const Metric& metric : wire_metrics()) metrics.push_back(metric);
  if (recorder_ && !recorder_->log(step, metrics, texts))
    note("warning: metrics could not be written (is the disk full?); training goes on");
}

/// Each stage has the statistics of its own parameters.
void Trainer::gather_layer_stats() {
  const Sharding& sharding = stepper_.train_step().sharding();
  if (sharding.grid().shape().pp == 1) return;
  std::vector<Metric>& metrics = layer_stats_->metrics();
  std::vector<double> mine, all(metrics.size() * static_cast<size_t>(sharding.ranks()));
  for (const Metric& metric : metrics) mine.push_back(metric.value);
  options_.ranks->all_gather(mine.data(), all.data(), mine.size() * sizeof(double));
  const size_t each = metrics.size() / sharding.parameters();
  for (size_t i = 0; i < metrics.size(); ++i) {
    const int owner = sharding.grid().rank_at({0, 0, sharding.stage_of(i / each)});
    metrics[i].value = all[static_cast<size_t>(owner) * metrics.size() + i];
  }
}

void Trainer::add_forecast(int64_t step, std::vector<Metric>& metrics) const {
  const Forecast::Band band = forecast_.at(step);
  metrics.push_back({"plan/loss", band.loss});
  metrics.push_back({"plan/low", band.low});
  metrics.push_back({"plan/high", band.high});
  const TrainState& state = stepper_.state;
  const auto recent = static_cast<int64_t>(state.recent_losses.size());
  if (recent > 0)
    metrics.push_back(
        {"plan/final_loss", forecast_.final_loss(step, recent, state.mean_recent_loss())});
}

void Trainer::watch_plan(int64_t step) {
  const TrainState& state = stepper_.state;
  const auto recent = static_cast<int64_t>(state.recent_losses.size());
  if (!forecast_ || left_plan_ || recent == 0) return;
  left_plan_ = forecast_.left(step, recent, state.mean_recent_loss());
  if (left_plan_)
    note("warning: " + forecast_.leaving_message(step, recent, state.mean_recent_loss()));
}

void Trainer::compare_with_plan() {
  const TrainState& state = stepper_.state;
  const bool validated = std::isfinite(state.last_valid_loss);
  const double loss = validated ? state.last_valid_loss : state.mean_recent_loss();
  if (!forecast_ || !std::isfinite(loss)) return;
  const PlanConfig& plan = run_.config.plan;
  note(fmt::format("the plan promised a loss of {:.4f} ({:.4f} to {:.4f}); it became {:.4f}{}: {}",
                   plan.loss, plan.loss_low, plan.loss_high, loss,
                   validated ? " in validation" : " in training",
                   loss < plan.loss_low    ? "better than the interval"
                   : loss > plan.loss_high ? "worse than the interval"
                                           : "within the interval"));
}

void Trainer::validate(const ValidSet& set, std::vector<Metric>& metrics) {
  const Trace::Span span(options_.trace, "validation");
  const InPhase phase(Phase::eval);
  TrainStep& train_step = stepper_.train_step();
  Score score;
  for (const auto& store : set.stores) {
    const Score part = score_tokens(
        [&](const Batch& batch) { return train_step.evaluate(batch); }, run_.batch.context,
        store->tokens(), [&](uint64_t first, std::span<int32_t> out) { store->read(first, out); },
        run_.batch.micro_batch);
    score.nats += part.nats;
    score.tokens += part.tokens;
  }
  score.nats = train_step.from_last_stage(score.nats);
  const double loss = score.loss(), bits = score.nats / std::numbers::ln2 / set.text_bytes;
  for (const std::string& name : set.loss_names) metrics.push_back({name, loss});
  if (set.text_bytes > 0)
    for (const std::string& name : set.bits_names) metrics.push_back({name, bits});
  note(fmt::format("step {}: {}validation loss {:.4f}{}", stepper_.state.step,
                   set.name.empty() ? "" : set.name + ": ", loss,
                   set.text_bytes > 0 ? fmt::format(", {:.3f} bits per byte", bits) : ""));
  if (&set != &run_.valid.front()) return;
  TrainState& state = stepper_.state;
  state.last_valid_loss = loss;
  if (!(state.best_valid_loss <= loss)) state.best_valid_loss = loss;
}

void Trainer::show_sample() {
  if (!options_.sample) return;
  const InPhase phase(Phase::eval);
  const Trace::Span span(options_.trace, "sample");
  TrainStep& train_step = stepper_.train_step();
  const bool parted = train_step.sharding().parted();
  std::optional<ParamBuffer> whole;  // at the first rank
  std::optional<HostCopy> copy;
  const std::string what = "the parameters of all ranks";
  if (parted && speaks_) {
    whole.emplace(run_.table, train_step.parameters.flat().dtype, what, allocator_of(backend_));
    copy.emplace(backend_, *whole, what);
  }
  if (parted)
    train_step.visit_all(train_step.weights(), [&](size_t i, View value) {
      std::memcpy((**copy)[i].data, value.data, value.bytes());
    });
  else
    train_step.settle();
  if (!speaks_) return;
  if (copy) copy->send();
  const int64_t step = stepper_.state.step;
  const std::string text = options_.sample(parted ? *whole : train_step.weights());
  note(fmt::format("step {} writes: {}", step, text));
  recorder_->text(step, "sample", text);
  std::error_code ignored;
  fs::create_directories(run_.folder / "samples", ignored);
  std::ofstream(run_.folder / "samples" / fmt::format("step-{:08}.txt", step)) << text << "\n";
}

/// Between steps; the last one is saved in any case.
bool Trainer::checkpoint_due() const {
  const int64_t step = stepper_.state.step, every = run_.config.checkpoint.every;
  return (every > 0 && step % every == 0) || retention_of(run_.config).for_ever(step);
}

void Trainer::save() {
  const InPhase phase(Phase::save);
  const Trace::Span span(options_.trace, "checkpoint");
  TrainStep& step = stepper_.train_step();
  step.settle();
  if (options_.kernel_plan_now) stepper_.state.kernel_plan = options_.kernel_plan_now();
  checkpoints_.save(stepper_.state, step.parameters, step.optimizer.m, step.optimizer.v);
  saved_step_ = stepper_.state.step;
}

void Trainer::show_progress(const StepRecord& record) {
  const std::lock_guard lock(output_mutex_);
  const int64_t steps = run_.schedule.steps;
  const bool profiled = profiled_seconds_ > 0;
  const bool computed = record.verdict.fate != Fate::left_out;
  const Forecast::Band plan = forecast_ ? forecast_.at(record.step) : Forecast::Band{};
  const TrainState& state = stepper_.state;
  const auto recent = static_cast<int64_t>(state.recent_losses.size());
  const double unknown = ProgressState::kUnknown;
  progress_.update(
      {.step = record.step,
       .steps = steps,
       .loss = computed ? record.result.loss : unknown,
       .planned_loss = forecast_ ? plan.loss : unknown,
       .planned_margin = forecast_ ? (plan.high - plan.low) / 2 : unknown,
       .final_loss = forecast_ && recent > 0
                         ? forecast_.final_loss(record.step, recent, state.mean_recent_loss())
                         : unknown,
       .grad_norm = computed ? record.result.grad_norm : unknown,
       .lr = record.rate,
       .tokens_per_s = recent_rate_,
       .memory_bytes = static_cast<double>(peak_bytes()),
       .eta_seconds = static_cast<double>(run_.batch.tokens_before(steps) -
                                          run_.batch.tokens_before(record.step)) /
                      recent_rate_,
       .mfu = mfu(),
       .hidden = hidden_,
       .costliest = profiled ? costliest_.name : "",
       .costliest_share =
           profiled ? costliest_.seconds / profiled_seconds_ : ProgressState::kUnknown});
}

void Trainer::tell(const SavedCheckpoint& saved) {
  const auto bytes = static_cast<double>(saved.bytes);
  const std::string text =
      fmt::format("saved step {}: {} in {} ({}/s)", saved.step, human_bytes(bytes),
                  human_duration(saved.seconds), human_bytes(bytes / saved.seconds));
  note(text, saved.seconds >= kLongSave);
}

void Trainer::note(const std::string& text, bool aloud) {
  if (!speaks_) return;
  const std::lock_guard lock(output_mutex_);
  if (aloud) progress_.note(text);
  std::ofstream(run_.folder / "log.txt", std::ios::app) << text << "\n";
}

}  // namespace isoflop
