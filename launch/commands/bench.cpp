#include "launch/bench_ops.hpp"
#include "launch/bench_step.hpp"
#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/train_plan.hpp"
#include "report/humanize.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct StepOptions {
  ConfigArguments words;
  StepBenchOptions bench;
  int threads = 0;
};

struct OpsOptions {
  std::string filter;
  int threads = 0;
};

constexpr int kMostThreads = 4096;

// --- rates

/// Products by their arithmetic, the rest by its memory; nothing for what does neither.
std::string rate_text(const OpWork& work, double seconds) {
  if (work.flops > 0) return fmt::format("{:.3f} TFLOP/s", work.flops / seconds * 1e-12);
  if (work.bytes > 0) return fmt::format("{:.1f} GB/s", work.bytes / seconds * 1e-9);
  return "";
}

void put_rate(Json& json, const OpWork& work, double seconds) {
  if (work.flops > 0)
    json["tflops"] = work.flops / seconds * 1e-12;
  else if (work.bytes > 0)
    json["gb_per_s"] = work.bytes / seconds * 1e-9;
}

// --- bench step

/// A config has a length and a warm-up that fits it; a step needs neither, so the user's are not
/// asked for, and a preset's are replaced.
std::vector<std::string> with_length(std::vector<std::string> overrides,
                                     const StepBenchOptions& bench) {
  const auto names_any_of = [&](const std::set<std::string>& keys) {
    return std::any_of(overrides.begin(), overrides.end(), [&](const std::string& word) {
      return keys.count(word.substr(0, word.find('='))) > 0;
    });
  };
  if (!names_any_of({"schedule.steps", "schedule.tokens", "schedule.tokens_per_parameter",
                     "schedule.budget"}))
    overrides.push_back(fmt::format("schedule.steps={}", bench.warmup + bench.steps));
  if (!names_any_of({"schedule.warmup"})) overrides.push_back("schedule.warmup=1%");
  return overrides;
}

Run read_run(const StepOptions& options, const Context& context) {
  const ConfigArguments& words = options.words;
  if (!words.others().empty())
    fail_user("bench step takes a run.toml and key=value changes, no \"{}\"; it needs no data",
              words.others().front());
  if (words.words.empty() && words.preset.empty())
    fail_user("bench step needs a run.toml, --preset NAME or key=value settings of a model");
  Origins origins;
  RunConfig config =
      load_config(words.file(), with_length(words.overrides(), options.bench), origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
  if (options.threads > 0) config.compute.threads = options.threads;
  return run_without_data(std::move(config), std::move(origins));
}

Json summary_of(const StepBench& bench) {
  return {{"tokens_per_s", bench.tokens_per_s},
          {"tflops", bench.flops * 1e-12},
          {"mfu", bench.mfu},
          {"mfu_causal", bench.mfu_causal},
          {"peak_bytes", bench.peak_bytes},
          {"planned_bytes", bench.planned_bytes},
          {"gemm_tflops", bench.product_rate * 1e-12},
          {"loss", bench.loss}};
}

Json operations_of(const StepBench& bench) {
  Json list = Json::array();
  const double steps = static_cast<double>(bench.profiled_steps);
  for (const OpTotal& op : bench.operations) {
    Json row = {{"name", op.name},
                {"calls_per_step", op.calls / bench.profiled_steps},
                {"ms_per_step", op.seconds / steps * 1e3},
                {"share", op.seconds / steps / bench.profiled_seconds}};
    put_rate(row, op.work, op.seconds);
    list.push_back(std::move(row));
  }
  return list;
}

void print_operations(const StepBench& bench, const Context& context) {
  const double steps = static_cast<double>(bench.profiled_steps);
  const auto row = [&](const char* name, const std::string& calls, double seconds,
                       const std::string& rate) {
    context.print("{:<20} {:>8} {:>11.3f} {:>6.1f}%   {}", name, calls, seconds * 1e3,
                  100 * seconds / bench.profiled_seconds, rate);
  };
  context.print("{:<20} {:>8} {:>11} {:>7}   rate", "operation", "calls", "ms a step", "share");
  double inside = 0;
  for (const OpTotal& op : bench.operations) {
    inside += op.seconds / steps;
    row(op.name, std::to_string(op.calls / bench.profiled_steps), op.seconds / steps,
        rate_text(op.work, op.seconds));
  }
  row("between operations", "", std::max(0.0, bench.profiled_seconds - inside), "");
}

void print_step(const Run& run, const StepBench& bench, const Context& context) {
  const double tokens = static_cast<double>(run.batch.tokens());
  context.print("speed    {} tokens/s, {} a step of {} tokens (median of {}; best {})",
                human_count(bench.tokens_per_s), human_duration(tokens / bench.tokens_per_s),
                run.batch.tokens(), bench.seconds.size(), human_count(bench.best_tokens_per_s));
  context.print(
      "compute  {:.3f} TFLOP/s of {:.3f} in matrix products alone: MFU {:.1f}%, {:.1f}% with "
      "attention counted as causal",
      bench.flops * 1e-12, bench.product_rate * 1e-12, 100 * bench.mfu, 100 * bench.mfu_causal);
  context.print("memory   {} at most, {} planned",
                human_bytes(static_cast<double>(bench.peak_bytes)),
                human_bytes(static_cast<double>(bench.planned_bytes)));
  context.print("loss     {:.4f} before the first update", bench.loss);
  print_operations(bench, context);
}

ExitCode run_step(StepOptions& options, const Context& context) {
  const Run run = read_run(options, context);
  Machine machine(run.config.compute);
  print_choice(machine.choice, context);
  print_shape(run, *machine.backend, context);
  options.bench.note = [&](const std::string& text) { context.note("{}", text); };
  const StepBench bench = bench_step(run, *machine.backend, options.bench);
  print_step(run, bench, context);
  const Json summary = summary_of(bench);
  context.print("RESULT {}", summary.dump());

  Json json = summary;
  json["best_tokens_per_s"] = bench.best_tokens_per_s;
  json["step_seconds"] = bench.seconds;
  json["batch_tokens"] = run.batch.tokens();
  json["parameters"] = parameter_count(run.table);
  json["vocabulary"] = run.config.model.vocabulary;
  json["device"] = machine.backend->description();
  json["threads"] = machine.team.size();
  json["operations"] = operations_of(bench);
  context.result(json);
  return ExitCode::kDone;
}

Action declare_step(Flags& app, Context& context) {
  auto options = std::make_shared<StepOptions>();
  app.add_option("run", options->words.words, "run.toml and key=value changes");
  app.add_option("--preset", options->words.preset, "start from a named shape");
  app.add_option("--steps", options->bench.steps, "steps to measure; default 10")
      ->check(in_range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--warmup", options->bench.warmup, "steps before them; default 2")
      ->check(in_range(int64_t{0}, int64_t{1} << 20));
  app.add_option("--threads", options->threads, "threads; default as compute.threads says")
      ->check(in_range(1, kMostThreads));
  return [options, &context] { return run_step(*options, context); };
}

// --- bench ops

ExitCode run_ops(const OpsOptions& options, const Context& context) {
  Machine machine(fp32_on(options.threads));
  bool first = true;
  const auto print_row = [&](const MachineLimits& limits, const OpBench& op) {
    if (std::exchange(first, false)) {
      context.print("{}, {} threads: {:.3f} TFLOP/s in matrix products, {:.1f} GB/s of memory",
                    machine.backend->description(), machine.team.size(), limits.flops * 1e-12,
                    limits.bytes * 1e-9);
      context.print("{:<20} {:<36} {:>10}  {:<15} of the limit", "operation", "shape", "ms",
                    "rate");
    }
    context.print("{:<20} {:<36} {:>10.4f}  {:<15} {:>6.1f}%", op.name, op.shape, op.seconds * 1e3,
                  rate_text(op.work, op.seconds), 100 * limits.seconds_of(op.work) / op.seconds);
  };
  const OpsBench bench = bench_ops(*machine.backend, options.filter, print_row);

  Json json = {{"device", machine.backend->description()},
               {"threads", machine.team.size()},
               {"gemm_tflops", bench.limits.flops * 1e-12},
               {"memory_gb_per_s", bench.limits.bytes * 1e-9},
               {"operations", Json::array()}};
  for (const OpBench& op : bench.operations) {
    Json row = {{"name", op.name}, {"shape", op.shape}, {"ms", op.seconds * 1e3}};
    put_rate(row, op.work, op.seconds);
    row["share"] = bench.limits.seconds_of(op.work) / op.seconds;
    json["operations"].push_back(std::move(row));
  }
  context.result(json);
  return ExitCode::kDone;
}

Action declare_ops(Flags& app, Context& context) {
  auto options = std::make_shared<OpsOptions>();
  app.add_option("--filter", options->filter, "only operations with this word in their names");
  app.add_option("--threads", options->threads, "threads; default all cores")
      ->check(in_range(1, kMostThreads));
  return [options, &context] { return run_ops(*options, context); };
}

}  // namespace

std::vector<Command> bench_commands() {
  return {{"bench step", "how fast a model trains here, on random tokens",
           "isoflop bench step run.toml\n  isoflop bench step --preset gpt2-124m "
           "schedule.batch_tokens=4096 schedule.micro_batch=2",
           declare_step},
          {"bench ops", "how fast each operation is, against the machine's limits",
           "isoflop bench ops --filter attention", declare_ops}};
}

}  // namespace isoflop
