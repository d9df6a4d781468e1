#include "launch/bench_comm.hpp"
#include "launch/bench_ops.hpp"
#include "launch/bench_step.hpp"
#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/ranks.hpp"
#include "launch/train_plan.hpp"
#include "launch/train_run.hpp"
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
  std::string filter, dtype = "fp32";
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

Run read_run(const StepOptions& options, const Context& context, int ranks = 1) {
  const ConfigArguments& words = options.words;
  if (!words.others().empty())
    fail_user("bench takes a run.toml and key=value changes, no \"{}\"; it needs no data",
              words.others().front());
  if (words.words.empty() && words.preset.empty())
    fail_user("bench needs a run.toml, --preset NAME or key=value settings of a model");
  Origins origins;
  RunConfig config =
      load_config(words.file(), with_length(words.overrides(), options.bench), origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
  if (options.threads > 0) config.compute.threads = options.threads;
  settle_slots(config, ranks);
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

// --- bench comm

Json summary_of(const CommBench& bench, const Run& run, int ranks) {
  Json json = {{"ranks", ranks},
               {"step_ms", bench.with * 1e3},
               {"silent_step_ms", bench.without * 1e3},
               {"together_step_ms", bench.together * 1e3},
               {"plain_step_ms", bench.plain * 1e3},
               {"one_rank_step_ms", bench.one_rank * 1e3},
               {"simulated_step_ms", bench.simulated * 1e3},
               {"closed_form_step_ms", bench.closed_form * 1e3},
               {"hidden", nullptr},
               {"data_hidden", nullptr},
               {"tokens_per_s", static_cast<double>(run.batch.tokens()) / bench.with},
               {"wire_gb_per_s", bench.wire_bytes_per_s * 1e-9},
               {"latency_us", bench.latency * 1e6}};
  if (bench.hidden) json["hidden"] = *bench.hidden;
  if (bench.data_hidden) json["data_hidden"] = *bench.data_hidden;
  return json;
}

void print_comm(const CommBench& bench, const Context& context) {
  context.print("wire     {:.3f} GB/s from rank to rank, each way, all at once; {:.0f} us one way",
                bench.wire_bytes_per_s * 1e-9, bench.latency * 1e6);
  context.print("{:<20} {:>10} {:>10} {:>9} {:>14}", "messages alone", "bytes", "ms", "GB/s",
                "of the wire");
  for (const CommOp& op : bench.operations)
    context.print("{:<20} {:>10} {:>10.3f} {:>9.3f} {:>13.0f}%", op.name, human_bytes(op.bytes),
                  op.seconds * 1e3, op.bytes_per_s() * 1e-9,
                  100 * op.bytes_per_s() / bench.wire_bytes_per_s);
  const auto step = [&](const char* name, double seconds) {
    if (seconds > 0)
      context.print("{:<46} {:>10.3f} ms {:>+7.1f}%", name, seconds * 1e3,
                    100 * (seconds / bench.without - 1));
  };
  step("step without messages", bench.without);
  step("step beside messages that it does not need", bench.beside);
  step("step, only losses and squares travel", bench.together);
  step("step", bench.with);
  step("step, each alone, plain all-reduce after it", bench.plain);
  step("step of one rank with the threads of all", bench.one_rank);
  step("step, simulated from the figures above", bench.simulated);
  step("step, in closed form", bench.closed_form);
  if (bench.hidden)
    context.print(
        "hidden   {:.0f}% of the messages' time alone; {:.0f}% of that of gradients and "
        "parameters, "
        "beside ranks\n         that wait for each other as well",
        100 * *bench.hidden, 100 * *bench.data_hidden);
}

struct CommOptions {
  ConfigArguments words;
  CommBenchOptions bench;
};

ExitCode run_comm(const CommOptions& options, World& world, const Context& context) {
  StepOptions step;
  step.words = options.words;
  Run run = read_run(step, context, world.ranks().size());
  if (run.config.compute.device == "cuda")
    fail_user("bench comm measures ranks on CPUs; set compute.device to cpu");
  run.config.compute = for_ranks(run.config.compute, &world, {});
  Machine machine(run.config.compute);
  print_shape(run, *machine.backend, context);
  const CommBench bench = bench_comm(run, machine, world, options.bench);
  print_comm(bench, context);
  const Json summary = summary_of(bench, run, world.ranks().size());
  context.print("RESULT {}", summary.dump());

  Json json = summary;
  json["rank_flops"] = bench.rank_flops;
  json["memory_gb_per_s"] = bench.memory_bytes_per_s * 1e-9;
  json["ranks_per_host"] = bench.ranks_per_host;
  json["ranks_per_core"] = bench.ranks_per_core;
  json["held_up_ns_per_byte"] = bench.held_up_s_per_byte * 1e9;
  json["device"] = machine.backend->description();
  json["threads"] = machine.team.size();
  json["messages"] = Json::array();
  for (const CommOp& op : bench.operations)
    json["messages"].push_back({{"name", op.name}, {"bytes", op.bytes}, {"ms", op.seconds * 1e3}});
  context.result(json);
  return ExitCode::kDone;
}

Action declare_comm(Flags& app, Context& context) {
  auto options = std::make_shared<CommOptions>();
  app.add_option("run", options->words.words, "run.toml and key=value changes");
  app.add_option("--preset", options->words.preset, "start from a named shape");
  app.add_option("--steps", options->bench.steps, "steps in a row of each kind; default 5")
      ->check(in_range(int64_t{1}, int64_t{1} << 20));
  app.add_option("--rounds", options->bench.rounds, "in which the kinds take turns; default 5")
      ->check(in_range(int64_t{1}, int64_t{1} << 20));
  return [options, &context] {
    return on_all_ranks(context, [&](World& world, const Context& ours) {
      return run_comm(*options, world, ours);
    });
  };
}

// --- bench ops

ExitCode run_ops(const OpsOptions& options, const Context& context) {
  ComputeConfig compute = fp32_on(options.threads);
  compute.dtype = options.dtype;
  Machine machine(compute);
  print_choice(machine.choice, context);
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
  app.add_option("--dtype", options->dtype, "of activations and products")
      ->check(one_of({"fp32", "bf16"}))
      ->capture_default_str();
  app.add_option("--threads", options->threads, "threads; default all cores")
      ->check(in_range(1, kMostThreads));
  return [options, &context] { return run_ops(*options, context); };
}

}  // namespace

std::vector<Command> bench_commands() {
  return {
      {"bench step", "how fast a model trains here, on random tokens",
       "isoflop bench step run.toml\n  isoflop bench step --preset gpt2-124m "
       "schedule.batch_tokens=4096 schedule.micro_batch=2",
       declare_step},
      {"bench comm", "what ranks lose to talking to each other, by whole steps without and with it",
       "mpirun -n 2 isoflop bench comm run.toml\n  mpirun -n 4 isoflop bench comm run.toml "
       "--json > here.json",
       declare_comm},
      {"bench ops", "how fast each operation is, against the machine's limits",
       "isoflop bench ops --filter attention", declare_ops}};
}

}  // namespace isoflop
