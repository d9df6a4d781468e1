#include "eval/language_model.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <memory>

namespace isoflop {

namespace {

struct Options {
  std::string model;
  std::string data;
  std::vector<std::string> text;
  bool per_token = false;
  int threads = 0;
};

TextScore score(const Options& options, LanguageModel& model) {
  if (!options.data.empty())
    return score_store(model, *TokenStore::open(options.data, false, model.find_tokenizer()));
  return score_documents(model, read_documents(options.text));
}

ExitCode run(const Options& options, const Context& context) {
  if (options.data.empty() == options.text.empty())
    fail_user("say what to score: either --data STORE.h5 or --text FILE");
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team, {.as_stored = true});
  for (const std::string& note : model.notes()) context.note("{}", note);
  const TextScore result = score(options, model);
  if (result.score.tokens == 0)
    fail_user("there is nothing to score: the text has fewer than two tokens");

  const double loss = result.score.loss();
  context.print("{:<16} {}", "model", model.origin());
  context.print("{:<16} {:.5f} nats per token", "loss", loss);
  context.print("{:<16} {:.3f}", "perplexity", std::exp(loss));
  if (result.bytes > 0) context.print("{:<16} {:.4f}", "bits per byte", result.bits_per_byte());
  context.print("{:<16} {}", "tokens scored", result.score.tokens);
  nlohmann::ordered_json object = {
      {"model", model.origin()},       {"loss", loss},
      {"perplexity", std::exp(loss)},  {"bits_per_byte", result.bits_per_byte()},
      {"tokens", result.score.tokens}, {"bytes", result.bytes}};
  if (result.bytes == 0) object["bits_per_byte"] = nullptr;  // tokens of unknown text
  if (options.per_token) {
    object["ids"] = result.ids;
    object["nll"] = result.nats;
  }
  context.result(object);
  return ExitCode::kDone;
}

Action declare(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "run folder, checkpoint or GGUF file")->required();
  app.add_option("--data", options->data, "token store, or token file of llm.c or Megatron");
  app.add_option("--text", options->text, "text: files, folders or globs");
  app.add_flag("--per-token", options->per_token, "with --json: every scored id and its nats");
  app.add_option("--threads", options->threads, "cores to use; 0 = all");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command eval_command() {
  return {
      "eval", "loss, perplexity and bits per byte of a model on text",
      "isoflop eval runs/first --text book.txt\n  isoflop eval model.gguf --data valid.h5 --json",
      declare};
}

}  // namespace isoflop
