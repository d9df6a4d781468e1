#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/describe.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/presets.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace isoflop {

namespace {

struct Options {
  ConfigArguments words;
  bool keys = false;
  bool verify = false;
};

ExitCode inspect_run(const Options& options, const Context& context) {
  Origins origins;
  const RunConfig config = load_config(options.words.file(), options.words.overrides(), origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
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
  const nlohmann::ordered_json description = describe_file(files[0], options.verify);
  print_description(context, description);
  context.result(description);
  return ExitCode::kDone;
}

Action declare(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option(
      "file", options->words.words,
      "run.toml (with key=value changes), a preset's name, token store, tokenizer, GGUF file, "
      "checkpoint or run folder");
  app.add_option("--preset", options->words.preset, "a named shape instead of a file");
  app.add_flag("--keys", options->keys, "list every key of a run file (docs/config.md)");
  app.add_flag("--verify", options->verify, "read all of a token store and compare its hashes");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command inspect_command() {
  return {"inspect", "say what a file is and what is in it",
          "isoflop inspect run.toml optimizer.lr=3e-3\n  isoflop inspect model.gguf --json",
          declare};
}

}  // namespace isoflop
