#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/sweep_page.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/model/architecture.hpp"
#include "report/humanize.hpp"
#include "report/run_report.hpp"

#include <nlohmann/json.hpp>

#include <memory>
#include <optional>

namespace isoflop {

namespace {

struct Options {
  std::string run, other;
  std::string out;
};

/// Absent when the folder has none: metrics of other origin can be drawn as well.
std::optional<RunConfig> config_of(const fs::path& run) {
  if (!fs::exists(run / "config.toml")) return std::nullopt;
  Origins origins;
  return load_config(run / "config.toml", {}, origins);
}

Facts facts_of(const RunConfig& config) {
  const ModelConfig& model = config.model;
  const ParamTable table = make_param_table(model);
  return {{"model", fmt::format("{}, {} layers x {}, {} heads, context {}, vocabulary {}",
                                name_of(model.arch), model.layers, model.d_model, model.heads,
                                model.context, model.vocabulary)},
          {"parameters", human_count(static_cast<double>(parameter_count(table)))},
          {"FLOPs per token", human_count(training_flops_per_token(model))}};
}

ExitCode write_page(const std::string& page, const fs::path& out, const Context& context) {
  write_file_atomically(out, page);
  context.print("wrote {}", out.string());
  return ExitCode::kDone;
}

/// The table of a sweep, where the folder is one.
std::optional<NamedSweep> sweep_of(const fs::path& folder) {
  const fs::path file = folder / "sweep.csv";
  if (!fs::exists(file)) return std::nullopt;
  const fs::path named = folder.filename().empty() ? folder.parent_path() : folder;
  return NamedSweep{named.filename().string(), parse_sweep(read_file(file), file.string())};
}

ExitCode report_run(const Options& options, const Context& context) {
  if (const std::optional<NamedSweep> sweep = sweep_of(options.run)) {
    const fs::path out =
        options.out.empty() ? fs::path(options.run) / "report.html" : fs::path(options.out);
    const ExitCode code = write_page(sweep_page(sweep->name, {*sweep}), out, context);
    context.result({{"file", out.string()}});
    return code;
  }
  const RunRecord run = read_run_record(options.run);
  const std::optional<RunConfig> config = config_of(options.run);
  const fs::path out =
      options.out.empty() ? fs::path(options.run) / "report.html" : fs::path(options.out);
  const ExitCode code =
      write_page(run_page(run, config ? facts_of(*config) : Facts()), out, context);
  context.result({{"file", out.string()}});
  return code;
}

ExitCode compare_sweeps(const Options& options,
                        const NamedSweep& a,
                        const NamedSweep& b,
                        const Context& context) {
  const ExitCode code =
      write_page(sweep_page(a.name + " and " + b.name, {a, b}), options.out, context);
  context.result({{"file", options.out}});
  return code;
}

ExitCode compare_runs(const Options& options, const Context& context) {
  const std::optional<NamedSweep> sweep_a = sweep_of(options.run),
                                  sweep_b = sweep_of(options.other);
  if (bool(sweep_a) != bool(sweep_b))
    fail_user("{} is a sweep and {} is none; compare two runs or two sweeps",
              sweep_a ? options.run : options.other, sweep_a ? options.other : options.run);
  if (sweep_a) return compare_sweeps(options, *sweep_a, *sweep_b, context);
  const RunRecord a = read_run_record(options.run), b = read_run_record(options.other);
  std::vector<KeyDifference> keys;
  const std::optional<RunConfig> config_a = config_of(options.run),
                                 config_b = config_of(options.other);
  if (config_a && config_b)
    for (const ConfigDifference& difference : compare_configs(*config_a, *config_b))
      keys.push_back({difference.key, difference.a, difference.b});
  for (const KeyDifference& key : keys) context.print("{}: {} | {}", key.key, key.a, key.b);

  nlohmann::ordered_json result = {{"file", options.out}, {"differing_keys", keys.size()}};
  const MetricSeries *loss_a = a.find("train/loss"), *loss_b = b.find("train/loss");
  if (loss_a && loss_b) {
    const LossDifference loss = compare_losses(*loss_a, *loss_b);
    context.print("training loss: {}", in_words(loss, options.run, options.other));
    if (loss.blocks > 0)
      result["loss_difference"] = {{"mean", loss.mean},
                                   {"half_width", loss.half_width},
                                   {"first_step", loss.first_step},
                                   {"last_step", loss.last_step},
                                   {"clear", loss.clear()}};
  }
  const ExitCode code = write_page(comparison_page(a, b, keys), options.out, context);
  context.result(result);
  return code;
}

Action declare_report(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("run", options->run, "run or sweep folder")->required();
  app.add_option("--out", options->out, "HTML file; RUN/report.html by default");
  return [options, &context] { return report_run(*options, context); };
}

Action declare_compare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  options->out = "comparison.html";
  app.add_option("a", options->run, "run or sweep folder")->required();
  app.add_option("b", options->other, "run or sweep folder")->required();
  app.add_option("--out", options->out, "HTML file")->capture_default_str();
  return [options, &context] { return compare_runs(*options, context); };
}

}  // namespace

std::vector<Command> report_commands() {
  // The longer name first: it is the one that is found when both fit.
  return {{"report compare",
           "two runs or two sweeps side by side: curves, configs, whether their losses differ",
           "isoflop report compare runs/first runs/second --out comparison.html", declare_compare},
          {"report", "a run or a sweep as one HTML page: curves, samples, config, environment",
           "isoflop report runs/first\n  isoflop report compare runs/sp-sweep runs/mup-sweep",
           declare_report}};
}

}  // namespace isoflop
