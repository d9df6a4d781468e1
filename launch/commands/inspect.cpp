#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/describe.hpp"
#include "launch/runs_on.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/presets.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/parametrized.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace isoflop {

namespace {

struct Options {
  ConfigArguments words;
  bool keys = false;
  bool verify = false;
  std::string show;
  std::vector<std::string> runs_on;
  int64_t context = 0;
};

/// What the rules made of every tensor: `--show parametrization`.
ExitCode show_parametrization(const Options& options, const Context& context) {
  if (options.show != "parametrization")
    fail_user("--show {} is unknown; parametrization is what can be shown", options.show);
  Origins origins;
  RunConfig config =
      resolved(load_config(options.words.file(), options.words.overrides(), origins));
  for (const std::string& note : origins.notes) context.note("{}", note);
  if (config.model.vocabulary == 0) config.model.vocabulary = 1;  // no rule depends on it
  const ModelConfig& model = config.model;
  const ParametrizationConfig& p = config.parametrization;
  context.print("{}: width x{:g}, feed-forward x{:g}, depth x{:g}", p.kind,
                parametrization_of(config).width, parametrization_of(config).feed_forward,
                parametrization_of(config).depth);
  context.print(
      "forward: embedding x{:g}, branches x{:g}, logits x{:g}, attention x{:g} / sqrt({})\n",
      model.embedding_multiplier, model.residual_multiplier, model.output_multiplier,
      model.attention_multiplier, model.head_dim);
  context.print("{:<34} {:>11} {:>11} {:>11} {:>11} {:>11}", "tensor", "start", "deviation", "rate",
                "epsilon", "decay");
  nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
  for (const ParamSpec& spec : make_parametrized_table(config)) {
    const double rate = config.optimizer.lr * spec.lr_scale;
    const double epsilon = config.optimizer.eps * spec.eps_scale;
    const double decay = spec.decay ? config.optimizer.weight_decay * spec.decay_scale : 0;
    context.print("{:<34} {:>11g} {:>11.5g} {:>11.5g} {:>11.5g} {:>11.5g}", spec.name,
                  spec.init_value, spec.init_std, rate, epsilon, decay);
    tensors.push_back({{"name", spec.name},
                       {"init_value", spec.init_value},
                       {"init_std", spec.init_std},
                       {"lr", rate},
                       {"eps", epsilon},
                       {"weight_decay", decay}});
  }
  context.result({{"kind", p.kind},
                  {"embedding_multiplier", model.embedding_multiplier},
                  {"residual_multiplier", model.residual_multiplier},
                  {"output_multiplier", model.output_multiplier},
                  {"attention_multiplier", model.attention_multiplier},
                  {"tensors", tensors}});
  return ExitCode::kDone;
}

ExitCode inspect_run(const Options& options, const Context& context) {
  if (!options.show.empty()) return show_parametrization(options, context);
  Origins origins;
  const RunConfig config = load_config(options.words.file(), options.words.overrides(), origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
  if (!options.runs_on.empty())
    return print_runs_on(model_to_run(resolved(config).model), options.runs_on, options.context,
                         context);
  const RunDescription run = describe_run(config, origins);
  context.print("{}", run.toml);
  print_description(context, run.counts);
  nlohmann::ordered_json object = {{"kind", "run"}};
  object.update(run.counts);
  object["config"] = run.config;
  object["notes"] = origins.notes;
  context.result(object);
  return ExitCode::kDone;
}

ExitCode run(const Options& options, const Context& context) {
  if (options.keys) {
    context.print_raw(config_reference());
    context.result({{"reference", config_reference()}});
    return ExitCode::kDone;
  }
  const std::vector<std::string> files = options.words.others();
  const std::vector<std::string> presets = preset_names();
  if (files.size() == 1 && options.words.preset.empty() && !std::filesystem::exists(files[0]) &&
      std::find(presets.begin(), presets.end(), files[0]) != presets.end()) {
    Options named = options;
    named.words.preset = files[0];
    named.words.words.erase(
        std::find(named.words.words.begin(), named.words.words.end(), files[0]));
    return inspect_run(named, context);
  }
  if (options.words.file() || !options.words.preset.empty()) {
    if (!files.empty()) fail_user("inspect takes a run or one other file, not both");
    return inspect_run(options, context);
  }
  if (files.size() != 1) fail_user("inspect needs one file, a run.toml or --preset NAME");
  if (!options.runs_on.empty())
    return print_runs_on(model_to_run(files[0]), options.runs_on, options.context, context);
  const nlohmann::ordered_json description = describe_file(files[0], options.verify);
  if (options.verify && !description.value("verified", false))
    context.note("--verify reads token stores (checkpoints always are); it has no effect on a {}",
                 description.value("kind", ""));
  print_description(context, description);
  context.result(description);
  return ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option(
      "file", options->words.words,
      "run.toml (with key=value changes), a preset's name, token store, tokenizer, GGUF file, "
      "Hugging Face folder, llama2.c .bin, checkpoint or run folder");
  app.add_option("--preset", options->words.preset, "a named shape instead of a file");
  app.add_flag("--keys", options->keys, "list every key of a run file (docs/config.md)");
  app.add_option("--show", options->show,
                 "parametrization: initial deviation, rate, epsilon and decay of every tensor");
  const Flag* const runs_on = app.add_option(
      "--runs-on", options->runs_on,
      "whether the model runs on a device (pi4-4gb, laptop-16gb, phone-8gb, ...), and how fast");
  app.add_option("--context", options->context, "for --runs-on: tokens; 0 = the model's context")
      ->check(in_range(int64_t{0}, int64_t{1} << 40))
      ->needs(runs_on);
  app.add_flag("--verify", options->verify, "read all of a token store and compare its hashes");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command inspect_command() {
  return {"inspect", "say what a file is and what is in it",
          "isoflop inspect run.toml optimizer.lr=3e-3\n  isoflop inspect model.gguf --json\n  "
          "isoflop inspect llama-7b "
          "--runs-on pi4-4gb",
          declare};
}

}  // namespace isoflop
