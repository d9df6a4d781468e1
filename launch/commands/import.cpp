#include "core/math.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "pretrain/checkpoint/writer.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model_source.hpp"
#include "pretrain/train/resume.hpp"
#include "report/humanize.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

struct Options {
  std::string model;
  std::string tokenizer;
  std::string out;
  int threads = 0;
};

/// A complete configuration around the model; how it would be trained is the next run's business.
RunConfig config_of(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  config.schedule.tokens_per_parameter = 20;
  config.schedule.batch_tokens =
      model.context * std::max<int64_t>(1, config.schedule.batch_tokens / model.context);
  return resolved(config);
}

/// Step 0 of a run that has not begun: the parameters, and moments of zero.
void write_checkpoint(const fs::path& folder,
                      const RunConfig& config,
                      const ParamTable& table,
                      const ParamBuffer& parameters,
                      const std::string& tokenizer) {
  const ParamBuffer first(table, DType::f32, "moments"), second(table, DType::f32, "moments");
  TrainState state;
  state.seed = config.data.seed;
  state.slots = config.schedule.slots;
  state.config = config_to_toml(config, {});
  CheckpointWriter writer({.run = folder, .retention = {.keep = 0}, .tokenizer = tokenizer}, table);
  writer.save(state, parameters, first, second);
  if (!writer.finish()) fail_io("{}", writer.last_error());
}

ExitCode run(const Options& options, const Context& context) {
  const fs::path folder = options.out;
  if (holds_run(folder)) fail_user("{} holds a run already; choose another --out", folder.string());
  const auto source = open_model(options.model);
  for (const std::string& note : source->notes()) context.note("{}", note);
  const auto tokenizer =
      options.tokenizer.empty() ? source->tokenizer() : Tokenizer::load(options.tokenizer);
  if (tokenizer && tokenizer->vocabulary() > source->config().vocabulary)
    fail_user("the tokenizer has {} tokens, but {} has {} embeddings: they do not belong together",
              tokenizer->vocabulary(), source->origin(), source->config().vocabulary);
  if (!tokenizer)
    context.note("{} has no tokenizer inside; name its file by --tokenizer to read and write text",
                 source->origin());
  require_writable_directory(folder);
  Machine machine(fp32_on(options.threads));
  const RunConfig config = config_of(source->config());
  const ParamTable table = make_param_table(config.model);
  ParamBuffer parameters(table, DType::f32, "parameters");
  source->read_parameters(table, parameters, machine.team);
  const std::string text = tokenizer ? tokenizer->to_json() : "";
  write_checkpoint(folder, config, table, parameters, text);
  if (tokenizer) write_file_atomically(folder / "tokenizer.json", text);
  write_file_atomically(folder / "config.toml", config_to_toml(config, {}));

  const int64_t count = parameter_count(table);
  context.print(
      "{}: {} with {} parameters, {}", folder.string(), name_of(config.model.arch),
      human_count(static_cast<double>(count)),
      tokenizer ? fmt::format("{} tokens", tokenizer->vocabulary()) : std::string("no tokenizer"));
  context.print(
      "train on:  isoflop train model.init={} data.train=TEXT schedule.steps=100 --out DIR",
      folder.string());
  context.result({{"run", folder.string()},
                  {"from", source->origin()},
                  {"arch", name_of(config.model.arch)},
                  {"parameters", count},
                  {"vocabulary", config.model.vocabulary},
                  {"tokenizer", tokenizer != nullptr},
                  {"notes", source->notes()}});
  return ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, kAnyModel)->required();
  app.add_option("--out", options->out, "the run folder to make")->required();
  app.add_option("--tokenizer", options->tokenizer,
                 "the model's tokenizer, where its own file has none");
  app.add_threads(options->threads);
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command import_command() {
  return {"import", "turn somebody's model into a run folder that trains on, evaluates and exports",
          "isoflop import SmolLM2-135M-Instruct.Q4_1.gguf --out runs/smol", declare};
}

}  // namespace isoflop
