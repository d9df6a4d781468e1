#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/family.hpp"
#include "launch/sweep_run.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ConfigArguments words;
  std::string widths, write;
  int64_t steps = 0;
  bool force = false;
  SweepRequest request;
};

/// One key's gate; the trials of one depth and length, by width.
TransferVerdict judge_key(const SweepTable& table, size_t key, const Context& context, Json& json) {
  std::vector<WidthSweep> sweeps;
  for (const SweepGroup& group : groups_of(table))
    sweeps.push_back({static_cast<double>(group.width), profile(group, key)});
  TransferVerdict verdict = judge_transfer(std::move(sweeps));
  context.print("{}: {:.4g} of width {:g}", table.keys[key], verdict.value,
                verdict.rows.front().width);
  Json rows = Json::array();
  for (const TransferRow& row : verdict.rows) {
    context.print(
        "  width {:<6g} own {:.4g} ({:.4g} to {:.4g}), loss {:.4f}; by the proxy's {:.4f}, "
        "{:+.2f} %, shift {:+.2f} octaves",
        row.width, row.optimum.value, row.optimum.low, row.optimum.high, row.optimum.loss,
        row.proxy_loss, 100 * row.lost, row.shift);
    rows.push_back({{"width", row.width},
                    {"value", row.optimum.value},
                    {"low", row.optimum.low},
                    {"high", row.optimum.high},
                    {"loss", row.optimum.loss},
                    {"proxy_loss", row.proxy_loss},
                    {"lost", row.lost},
                    {"shift", row.shift}});
  }
  json["keys"].push_back({{"key", table.keys[key]},
                          {"value", verdict.value},
                          {"pass", verdict.pass},
                          {"reasons", verdict.reasons},
                          {"widths", rows}});
  return verdict;
}

/// What no width says anything about: batch, length and decay, each with what is known of it.
void state_the_rest(const RunConfig& full, int64_t steps, const Context& context, Json& json) {
  const int64_t parameters = all_parameter_count(full.model);
  const int64_t whole = planned_steps(full, parameters);
  const double tokens = static_cast<double>(batch_plan(full).tokens_before(whole));
  const double per_parameter = tokens / static_cast<double>(parameters);
  context.print("width: theory (maximal update parametrization), and measured by the gate");
  context.print("batch: {} tokens, the same as the proxies'; nothing is claimed of others",
                full.schedule.batch_tokens);
  if (whole != steps)
    context.print(
        "horizon: {} steps, the proxies had {}; theory and measurement give no rule that holds "
        "generally, and the best rate of a longer run is lower",
        whole, steps);
  json["steps"] = whole;
  json["proxy_steps"] = steps;
  const double lambda = full.optimizer.weight_decay;
  if (!(lambda > 0)) return;
  // Of the rows that the decay reaches in full: under "independent" those of every width.
  const double rate = full.optimizer.lr;
  const double timescale = 1 / (rate * lambda * static_cast<double>(whole));
  const double best = 1.084 * std::pow(per_parameter, -0.527);  // Bergsma et al. 2025
  const double advised = 1 / (rate * best * static_cast<double>(whole));
  context.print(
      "decay: the weights remember {:.2g} of the run (1 / (rate x decay x steps)); measured by "
      "others at {:.3g} tokens per parameter: {:.2g}, which optimizer.weight_decay={:.2g} gives; "
      "not applied",
      timescale, per_parameter, best, advised);
  json["timescale"] = timescale;
  json["timescale_measured_best"] = best;
  json["weight_decay_advised"] = advised;
}

ExitCode run(Options& options, const Context& context) {
  SweepRequest& request = options.request;
  request.file = options.words.file();
  request.overrides = options.words.overrides();
  if (!request.file && options.words.preset.empty())
    fail_user("transfer needs the full-size run.toml or --preset NAME");
  if (options.widths.empty()) fail_user("transfer needs --widths 64,128,256: the proxies");
  request.widths = parse_sizes(options.widths, "--widths");
  if (request.widths.size() < 3)
    fail_user("--widths {}: the gate needs at least three", options.widths);
  Origins origins;
  RunConfig full = load_config(request.file, request.overrides, origins);
  if (full.parametrization.kind == "sp" && !options.force)
    fail_user(
        "parametrization.kind = \"sp\" has no rule by which anything transfers; set "
        "parametrization.kind=\"mup\" and parametrization.base_d_model, or --force");
  if (options.steps > 0)
    request.overrides.push_back(fmt::format("schedule.steps={}", options.steps));
  if (options.steps == 0 && full.schedule.steps == 0)
    fail_user("widths are compared at equal steps; say how many the proxies train: --steps N");
  if (request.out.empty()) request.out = "runs/" + full.output.name + "-transfer";
  const SweepOutcome outcome = run_sweep(request, context);
  if (outcome.code != ExitCode::kDone) return outcome.code;

  // The folder may hold other models, too: those asked for count.
  const RunConfig proxy = outcome.base;
  SweepTable table{outcome.table.keys, {}};
  for (const SweepRow& row : outcome.table.rows)
    if (row.steps == proxy.schedule.steps && row.layers == proxy.model.layers &&
        std::find(request.widths.begin(), request.widths.end(), row.width) != request.widths.end())
      table.rows.push_back(row);
  Json json = {{"pass", true}, {"flops", outcome.flops}, {"keys", Json::array()}};
  std::vector<std::string> found = request.overrides;
  if (options.steps > 0) found.pop_back();  // the proxies' length
  std::vector<std::string> reasons;
  std::vector<std::pair<std::string, std::string>> sources;
  for (size_t key = 0; key < table.keys.size(); ++key) {
    const TransferVerdict verdict = judge_key(table, key, context, json);
    for (const std::string& reason : verdict.reasons) reasons.push_back(reason);
    if (!std::isfinite(verdict.value)) continue;
    const TransferRow& narrow = verdict.rows.front();
    found.push_back(fmt::format("{}={:.6g}", table.keys[key], verdict.value));
    sources.push_back(
        {table.keys[key],
         fmt::format("sweep: optimum of width {:g} ({:.4g} to {:.4g}), gate {}", narrow.width,
                     narrow.optimum.low, narrow.optimum.high, verdict.pass ? "passed" : "FAILED")});
  }
  full = resolved(load_config(request.file, found, origins));
  for (const auto& [key, source] : sources) origins.of[key] = source;
  for (const char* name : {"embedding", "residual", "output", "attention"})
    origins.of[fmt::format("model.{}_multiplier", name)] =
        fmt::format("rule of {}", full.parametrization.kind);
  if (full.model.vocabulary == 0) full.model.vocabulary = 1;  // for counts alone
  state_the_rest(full, proxy.schedule.steps, context, json);
  json["pass"] = reasons.empty();
  json["reasons"] = reasons;
  for (const std::string& reason : reasons) context.print("FAIL: {}", reason);
  const bool through = reasons.empty() || options.force;
  if (through && !options.write.empty()) {
    full.model.vocabulary = load_config(request.file, found, origins).model.vocabulary;
    for (const auto& [key, source] : sources) origins.of[key] = source;
    write_file_atomically(options.write, config_to_toml(full, origins));
    json["file"] = options.write;
    context.print("wrote {}", options.write);
  }
  if (!through) context.print("nothing was written; --force writes it all the same");
  context.result(json);
  return through ? ExitCode::kDone : ExitCode::kGate;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  SweepRequest& request = options->request;
  app.add_option("run", options->words.words, "the full-size run.toml and key=value changes");
  app.add_option("--preset", options->words.preset, "a named shape instead of a file");
  app.add_option("--over", request.over, "as in sweep: KEY=LOW:HIGH[:FACTOR] or KEY=A,B,C")
      ->allow_extra_args(false);
  app.add_option("--widths", options->widths,
                 "proxies; the narrowest one's optimum is carried over");
  app.add_option("--steps", options->steps, "of every proxy; default those of the run")
      ->check(in_range(1, 1000000000));
  app.add_option("--seeds", request.seeds, "trials of each value")->check(in_range(1, 1000));
  app.add_option("--jobs", request.jobs, "trials at once; default cores / compute.threads")
      ->check(in_range(1, 4096));
  app.add_option("--out", request.out, "folder of the sweep; runs/NAME-transfer");
  app.add_option("--write", options->write, "the full-size run file with what was found");
  app.add_flag("--force", options->force, "write it although the gate fails");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command transfer_command() {
  return {"transfer", "tune small models, prove that it holds for wider ones, write the large run",
          "isoflop transfer large.toml --over optimizer.lr=5e-4:1.6e-2 --widths 64,128,256 --steps "
          "300 --seeds 3 --write tuned.toml",
          declare};
}

}  // namespace isoflop
