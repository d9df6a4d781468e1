#include "launch/sweep_run.hpp"

#include "launch/config_arguments.hpp"
#include "launch/machine.hpp"
#include "launch/signals.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/train/prepare.hpp"
#include "pretrain/train/resume.hpp"
#include "pretrain/train/score.hpp"
#include "pretrain/train/stepper.hpp"
#include "report/humanize.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr const char* kTable = "sweep.csv";
constexpr const char* kPlan = "sweep.json";
constexpr int kVersion = 1;

/// What the trials of a folder have in common, from sweep.json.
struct Stored {
  std::string config;  // TOML
  std::vector<std::string> keys;
};

std::optional<Stored> read_stored(const fs::path& folder) {
  const fs::path file = folder / kPlan;
  if (!fs::exists(file)) return std::nullopt;
  const Json json = Json::parse(read_file(file), nullptr, false);
  const bool good = json.is_object() && json.value("version", 0) == kVersion &&
                    json.contains("config") && json["config"].is_string() &&
                    json.contains("keys") && json["keys"].is_array();
  if (!good)
    fail_format("{}: not the plan of a sweep that this program can read; choose another --out",
                file.string());
  Stored stored{json["config"].get<std::string>(), {}};
  for (const Json& key : json["keys"]) {
    if (!key.is_string()) fail_format("{}: a key is no text", file.string());
    stored.keys.push_back(key.get<std::string>());
  }
  return stored;
}

class Sweep {
 public:
  Sweep(const SweepRequest& request, const Context& context)
      : request_(request), context_(context) {}

  SweepOutcome run() {
    read_request();
    open_folder();
    vocabulary_ = base_.config.model.vocabulary ? base_.config.model.vocabulary : 256;
    settle_base();
    plan();  // what cannot be is refused before anything is built
    if (request_.dry_run) {
      vocabulary_ = plan_run(base_.config, {}, folder_).config.model.vocabulary;
    } else {
      settle_compute();
      build_data();
    }
    settle_base();
    const std::vector<Trial> trials = plan();
    state_budget(trials);
    if (!request_.dry_run && !stored_) store();
    outcome_.base = loaded_;
    outcome_.origins = origins_;
    outcome_.folder = folder_;
    if (!request_.dry_run) {
      if (request_.search == "halving")
        run_halving();
      else
        run_trials(trials);
    }
    outcome_.table = table_;
    if (const auto stop = stop_requested(); stop && !request_.dry_run) {
      outcome_.code = *stop;
      context_.note("stopped; what has finished is in {}; the same command goes on",
                    (folder_ / kTable).string());
    }
    return outcome_;
  }

 private:
  void read_request() {
    if (request_.over.empty()) fail_user("a sweep needs --over KEY=LOW:HIGH or --over KEY=A,B,C");
    for (const std::string& text : request_.over) {
      axes_.push_back(parse_axis(text));
      const std::string& key = axes_.back().key;
      if (std::find(base_.keys.begin(), base_.keys.end(), key) != base_.keys.end())
        fail_user("--over {} is given twice", key);
      base_.keys.push_back(key);
    }
    if (request_.search != "grid" && request_.search != "random" && request_.search != "halving")
      fail_user("--search {}: there are grid, random and halving", request_.search);
    if (request_.search == "random" && request_.trials == 0)
      fail_user("--search random needs --trials N, settings to draw for each model");
    if (request_.search == "grid" && request_.trials > 0)
      fail_user("--trials is for --search random or halving; a grid has its own settings");
    for (const std::string& key : base_.keys)
      if (request_.search == "halving" && key.substr(0, 9) == "schedule." &&
          key != "schedule.final_lr_fraction" && key != "schedule.cooldown_fraction")
        fail_user("--search halving chooses the lengths of trials itself and cannot sweep {}", key);
    loaded_ = load_config(request_.file, request_.overrides, origins_);
    for (const std::string& note : origins_.notes) context_.note("{}", note);
    if (loaded_.data.train.empty())
      fail_user("there is nothing to learn from; set data.train=TEXT");
    if (!loaded_.schedule.budget.empty())
      fail_user("trials need a length in steps or tokens, not schedule.budget");
    if (!loaded_.model.init.empty())
      fail_user("a sweep trains models from their beginning; leave model.init out");
    folder_ = request_.out.empty() ? fs::path("runs") / (loaded_.output.name + "-sweep")
                                   : fs::path(request_.out);
    if (holds_run(folder_)) fail_user("{} holds a run; choose another --out", folder_.string());
    base_.config = loaded_;
    base_.config.guard = GuardConfig();  // a trial that diverges is to be seen
  }

  /// What is there already must be of the same sweep: same data, same config but for what varies.
  void open_folder() {
    stored_ = read_stored(folder_);
    if (!stored_) return;
    if (stored_->keys != base_.keys)
      fail_user("{} has a sweep over {}; choose another --out", folder_.string(),
                fmt::join(stored_->keys, ", "));
    Origins ignored;
    const RunConfig before = parse_config(stored_->config, (folder_ / kPlan).string(), {}, ignored);
    if (base_.config.compute.dtype == "auto") base_.config.compute.dtype = before.compute.dtype;
    if (base_.config.compute.bf16_kernel == "auto")
      base_.config.compute.bf16_kernel = before.compute.bf16_kernel;
    for (const ConfigDifference& d : compare_configs(before, base_.config)) {
      const bool swept = std::find(base_.keys.begin(), base_.keys.end(), d.key) != base_.keys.end();
      if (!d.frozen || swept) continue;
      fail_user("{} has a sweep with {} = {}, here it is {}; choose another --out",
                folder_.string(), d.key, d.a, d.b);
    }
    const fs::path file = folder_ / kTable;
    if (!fs::exists(file)) return;
    table_ = parse_sweep(read_file(file), file.string());
    if (table_.keys != base_.keys)
      fail_format("{}: its keys are not those of {}", file.string(), kPlan);
  }

  void settle_compute() {
    if (base_.config.compute.threads == 0) base_.config.compute.threads = 1;
    if (base_.config.compute.device == "cuda")
      fail_user("a sweep trains on CPUs only; set compute.device to cpu");
    base_.config.compute.device = "cpu";
    const ComputeChoice choice = choose_compute(base_.config.compute);
    print_choice(choice, context_);
    base_.config.compute = with_choice(base_.config.compute, choice);
  }

  /// Once for all trials; sweep.json, written afterwards, says that it is whole.
  void build_data() {
    require_writable_directory(folder_);
    PrepareOptions prepare;
    prepare.folder = folder_;
    prepare.note = [this](const std::string& text) { context_.note("{}", text); };
    prepare.threads = usable_cores();
    prepare.reuse = stored_.has_value();
    const Run run = prepare_run(base_.config, {}, prepare);
    vocabulary_ = run.config.model.vocabulary;
    judged_by_ = run.valid.empty() ? "the last steps' training loss" : "held-out text";
  }

  void store() const {
    const Json plan = {{"version", kVersion},
                       {"keys", base_.keys},
                       {"config", config_to_toml(base_.config, origins_)}};
    write_file_atomically(folder_ / kPlan, plan.dump(1) + "\n");
  }

  /// The text that trials are made from, with the vocabulary as far as it is known.
  void settle_base() {
    RunConfig whole = base_.config;
    whole.model.vocabulary = vocabulary_;
    base_.toml = config_to_toml(whole, {});
    table_.keys = base_.keys;
  }

  struct Size {
    int64_t width, layers;
  };
  std::vector<Size> sizes() const {
    std::vector<Size> list;
    const std::vector<int64_t> own = {0};
    for (const int64_t width : request_.widths.empty() ? own : request_.widths)
      for (const int64_t layers : request_.depths.empty() ? own : request_.depths)
        list.push_back({width, layers});
    return list;
  }

  std::vector<std::vector<std::string>> settings() const {
    if (request_.trials > 0) return random_settings(axes_, request_.trials, loaded_.data.seed);
    return grid_settings(axes_);
  }

  std::vector<Trial> trials_of(Size size,
                               const std::vector<std::vector<std::string>>& chosen,
                               int64_t steps) const {
    std::vector<Trial> trials;
    for (const std::vector<std::string>& setting : chosen)
      for (int64_t s = 0; s < request_.seeds; ++s)
        trials.push_back(make_trial(base_, size.width, size.layers, setting,
                                    loaded_.data.seed + static_cast<uint64_t>(s), steps));
    return trials;
  }

  /// Halving: how many settings are tried at each length. At least three at the last, for a fit.
  struct Rung {
    size_t settings;
    int64_t steps;
  };
  std::vector<Rung> rungs_of(Size size, size_t count) const {
    const int64_t whole = trials_of(size, {settings().front()}, 0).front().row.steps;
    constexpr size_t kLeast = 3;
    const auto eta = static_cast<size_t>(request_.eta);
    std::vector<Rung> rungs = {{count, 0}};
    while (rungs.back().settings > kLeast)
      rungs.push_back({std::max(kLeast, (rungs.back().settings + eta - 1) / eta), 0});
    int64_t steps = whole;
    for (size_t i = rungs.size(); i-- > 0; steps = std::max<int64_t>(1, steps / request_.eta))
      rungs[i].steps = steps;
    return rungs;
  }

  /// All trials; of halving, places for the settings that will go on: which they are does not
  /// change what they cost.
  std::vector<Trial> plan() const {
    const std::vector<std::vector<std::string>> all = settings();
    std::vector<Trial> list;
    for (const Size size : sizes()) {
      std::vector<Rung> rungs = {{all.size(), 0}};
      if (request_.search == "halving") rungs = rungs_of(size, all.size());
      for (const Rung& rung : rungs) {
        const std::vector<std::vector<std::string>> some(
            all.begin(), all.begin() + static_cast<std::ptrdiff_t>(rung.settings));
        for (Trial& trial : trials_of(size, some, rung.steps)) list.push_back(std::move(trial));
      }
    }
    return list;
  }

  void state_budget(const std::vector<Trial>& trials) {
    outcome_.trials = static_cast<int64_t>(trials.size());
    int64_t there = 0;
    for (const Trial& trial : trials) {
      outcome_.flops += trial.row.flops;
      there += table_.find(trial.row) != nullptr;
    }
    context_.note("{} trials, {:.3g} FLOP in all{}{}", outcome_.trials, outcome_.flops,
                  there ? fmt::format("; {} are there already", there) : std::string(),
                  judged_by_.empty() ? std::string() : fmt::format("; judged by {}", judged_by_));
  }

  void run_halving() {
    for (const Size size : sizes()) {
      std::vector<std::vector<std::string>> chosen = settings();
      for (const Rung& rung : rungs_of(size, chosen.size())) {
        chosen.resize(rung.settings);
        const std::vector<Trial> trials = trials_of(size, chosen, rung.steps);
        run_trials(trials);
        if (stop_requested()) return;
        std::map<std::vector<std::string>, double> losses;  // sums over the seeds
        for (const Trial& trial : trials) {
          const SweepRow& row = *table_.find(trial.row);
          losses[row.values] += row.diverged() ? std::numeric_limits<double>::infinity() : row.loss;
        }
        std::stable_sort(chosen.begin(), chosen.end(),
                         [&losses](const auto& a, const auto& b) { return losses[a] < losses[b]; });
        context_.note("{} steps: best of {} settings: {}", rung.steps, rung.settings,
                      describe(chosen.front()));
      }
    }
  }

  std::string describe(const std::vector<std::string>& setting) const {
    std::string text;
    for (size_t k = 0; k < setting.size(); ++k)
      text += fmt::format("{}{} {}", k ? ", " : "", base_.keys[k], setting[k]);
    return text;
  }

  /// Those that are missing, the longest first.
  void run_trials(const std::vector<Trial>& trials) {
    std::vector<const Trial*> open;
    double flops = 0;
    for (const Trial& trial : trials)
      if (!table_.find(trial.row)) {
        open.push_back(&trial);
        flops += trial.row.flops;
      }
    std::stable_sort(open.begin(), open.end(),
                     [](const Trial* a, const Trial* b) { return a->row.flops > b->row.flops; });
    if (open.empty()) return;
    install_stop_signals();
    const int threads = std::max(1, base_.config.compute.threads);
    const int jobs = request_.jobs > 0 ? request_.jobs : std::max(1, usable_cores() / threads);
    ThreadTeam team(std::min<int>(jobs, static_cast<int>(open.size())));
    const auto start = std::chrono::steady_clock::now();
    double done = 0;
    size_t finished = 0;
    team.run(static_cast<int64_t>(open.size()), [&](int64_t index, int) {
      if (stop_requested()) return;
      SweepRow row = open[static_cast<size_t>(index)]->row;
      if (!run_trial(*open[static_cast<size_t>(index)], row)) return;
      const std::lock_guard lock(mutex_);
      table_.rows.push_back(row);
      write_file_atomically(folder_ / kTable, to_csv(table_));
      done += row.flops;
      const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - start;
      context_.note("{}/{}, eta {}: width {}, {} layers, {}, seed {}: {}", ++finished, open.size(),
                    human_duration(spent.count() * (flops / done - 1)), row.width, row.layers,
                    describe(row.values), row.seed,
                    row.diverged() ? fmt::format("diverged at step {}", row.last_step)
                                   : fmt::format("loss {:.4f}", row.loss));
    });
  }

  /// False when asked to stop. Files are opened one trial at a time: HDF5 knows no threads.
  bool run_trial(const Trial& trial, SweepRow& row) {
    std::optional<Run> run;
    {
      const std::lock_guard lock(mutex_);
      PrepareOptions prepare;
      prepare.folder = folder_;
      prepare.reuse = true;
      prepare.writes = false;
      run.emplace(prepare_run(base_.config_of(trial.changes), {}, prepare));
    }
    Machine machine(run->config.compute);
    Stepper stepper(*run, *machine.backend);
    stepper.initialize();
    const int64_t looked_at = std::clamp<int64_t>(run->schedule.steps / 10, 1, 50);
    double sum = 0;
    row.loss = row.train_loss = kNaN;
    while (stepper.state.step < run->schedule.steps) {
      if (stop_requested()) return false;
      const StepRecord record = stepper.next();
      row.last_step = record.step;
      if (!record.result.finite()) return true;
      if (record.step > run->schedule.steps - looked_at) sum += record.result.loss;
    }
    row.train_loss = sum / static_cast<double>(looked_at);
    row.loss = run->valid.empty() ? row.train_loss : held_out_loss(*run, stepper);
    return true;
  }

  static double held_out_loss(const Run& run, Stepper& stepper) {
    Score score;
    for (const auto& store : run.valid.front().stores) {
      const auto left = kTrialValidTokens - static_cast<uint64_t>(score.tokens);
      const Score part = score_tokens(
          stepper.train_step().model(), std::min<uint64_t>(store->tokens(), left + 1),
          [&](uint64_t first, std::span<int32_t> out) { store->read(first, out); },
          run.batch.micro_batch);
      score.nats += part.nats;
      score.tokens += part.tokens;
      if (static_cast<uint64_t>(score.tokens) >= kTrialValidTokens) break;
    }
    return score.loss();
  }

  const SweepRequest& request_;
  const Context& context_;
  std::vector<SweepAxis> axes_;
  Origins origins_;
  RunConfig loaded_;
  SweepBase base_;
  std::optional<Stored> stored_;
  fs::path folder_;
  int64_t vocabulary_ = 0;
  std::string judged_by_;
  SweepTable table_;
  SweepOutcome outcome_;
  std::mutex mutex_;
};

}  // namespace

SweepOutcome run_sweep(const SweepRequest& request, const Context& context) {
  return Sweep(request, context).run();
}

Json report_optima(const SweepTable& table, const fs::path& folder, const Context& context) {
  Json list = Json::array();
  std::string csv =
      "parameters,tokens,flops,loss,parametrization,width,layers,steps,key,value,low,high,edge,"
      "trials,diverged\n";
  bool any = false;
  for (const SweepGroup& group : groups_of(table)) {
    const auto diverged = std::count_if(group.rows.begin(), group.rows.end(),
                                        [](const SweepRow& row) { return row.diverged(); });
    context.print("{}, width {}, {} layers, {} steps, {} parameters: {} trials, {} diverged",
                  group.parametrization, group.width, group.layers, group.steps,
                  human_count(group.parameters), group.rows.size(), diverged);
    for (size_t k = 0; k < table.keys.size(); ++k) {
      const Optimum best = fit_optimum(profile(group, k));
      Json entry = {{"parametrization", group.parametrization},
                    {"width", group.width},
                    {"layers", group.layers},
                    {"steps", group.steps},
                    {"parameters", group.parameters},
                    {"tokens", group.tokens},
                    {"key", table.keys[k]},
                    {"trials", group.rows.size()},
                    {"diverged", diverged}};
      if (!std::isfinite(best.value)) {
        context.print("  {:<28} no optimum: fewer than three values above 0 did not diverge",
                      table.keys[k]);
        entry["value"] = nullptr;
        list.push_back(std::move(entry));
        continue;
      }
      context.print("  {:<28} {:.4g} ({:.4g} to {:.4g}), loss {:.4f}{}", table.keys[k], best.value,
                    best.low, best.high, best.loss,
                    best.edge == 0 ? ""
                    : best.edge < 0
                        ? "; a bound: the best lies at the lowest value or below, sweep further"
                        : "; a bound: the best lies at the highest value that did not diverge, or "
                          "above");
      entry["value"] = best.value;
      entry["low"] = best.low;
      entry["high"] = best.high;
      entry["loss"] = best.loss;
      entry["edge"] = best.edge;
      list.push_back(std::move(entry));
      csv +=
          fmt::format("{},{},{},{:.6f},{},{},{},{},{},{:.6g},{:.6g},{:.6g},{},{},{}\n",
                      group.parameters, group.tokens, group.flops, best.loss, group.parametrization,
                      group.width, group.layers, group.steps, table.keys[k], best.value, best.low,
                      best.high, best.edge, group.rows.size(), diverged);
      any = true;
    }
  }
  if (any) write_file_atomically(folder / "optima.csv", csv);
  return list;
}

}  // namespace isoflop
