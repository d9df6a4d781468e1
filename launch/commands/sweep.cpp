#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/family.hpp"
#include "launch/sweep_run.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ConfigArguments words;
  std::string widths, depths;
  SweepRequest request;
};

ExitCode run(Options& options, const Context& context) {
  SweepRequest& request = options.request;
  if (!options.words.file() && options.words.preset.empty())
    fail_user("sweep needs a run.toml or --preset NAME");
  request.file = options.words.file();
  request.overrides = options.words.overrides();
  if (!options.widths.empty()) request.widths = parse_sizes(options.widths, "--widths");
  if (!options.depths.empty()) request.depths = parse_sizes(options.depths, "--depths");
  const SweepOutcome outcome = run_sweep(request, context);
  Json json = {{"trials", outcome.trials}, {"flops", outcome.flops}};
  if (request.dry_run) {
    context.print("{} trials, {:.3g} FLOP; nothing was run", outcome.trials, outcome.flops);
    context.result(json);
    return ExitCode::kDone;
  }
  json["optima"] = report_optima(outcome.table, outcome.folder, context);
  json["table"] = (outcome.folder / "sweep.csv").string();
  json["stopped"] = outcome.code != ExitCode::kDone;
  context.print("table: {}", json["table"].get<std::string>());
  context.result(json);
  return outcome.code;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  SweepRequest& request = options->request;
  app.add_option("run", options->words.words, "run.toml and key=value changes");
  app.add_option("--preset", options->words.preset, "a named shape instead of a file");
  app.add_option("--over", request.over,
                 "KEY=LOW:HIGH (steps of 2), KEY=LOW:HIGH:FACTOR or KEY=A,B,C; again for another "
                 "key")
      ->allow_extra_args(false);
  app.add_option("--widths", options->widths, "d_model of the models; default the run's own");
  app.add_option("--depths", options->depths, "layers of the models; default the run's own");
  app.add_option("--seeds", request.seeds, "trials of each setting")->check(in_range(1, 1000));
  app.add_option("--search", request.search,
                 "grid: all values; random: --trials draws; halving: short runs first, the better "
                 "ones longer")
      ->capture_default_str();
  app.add_option("--trials", request.trials, "settings to draw for each model")
      ->check(in_range(1, 100000));
  app.add_option("--eta", request.eta, "halving: one of so many goes on, so many times longer")
      ->check(in_range(2, 100))
      ->capture_default_str();
  app.add_option("--jobs", request.jobs, "trials at once; default cores / compute.threads")
      ->check(in_range(1, 4096));
  app.add_option("--out", request.out, "folder of the table; runs/NAME-sweep");
  app.add_flag("--dry-run", request.dry_run, "say how many trials and FLOPs");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command sweep_command() {
  return {"sweep", "the same run with many values: where is a hyperparameter best?",
          "isoflop sweep run.toml --over optimizer.lr=5e-4:1.6e-2 --widths 64,128,256 --seeds "
          "3\n  isoflop sweep run.toml --over optimizer.lr=1e-4:1e-1 --over "
          "optimizer.weight_decay=0.01:1 --search random --trials 24\n  isoflop sweep run.toml "
          "--over optimizer.lr=1e-4:1e-1 --search halving",
          declare};
}

}  // namespace isoflop
