#include "eval/language_model.hpp"
#include "eval/tasks.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"

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
  int64_t stride = 0;
  std::vector<std::string> tasks;
  FewShot few_shot;
  bool bos = false;
  bool per_item = false;
  int threads = 0;
};

TextScore score(const Options& options, LanguageModel& model) {
  if (!options.data.empty())
    return score_store(model, *TokenStore::open(options.data, false, model.find_tokenizer()),
                       options.stride);
  return score_documents(model, read_documents(options.text), options.stride);
}

nlohmann::ordered_json items_json(const Task& task, const TaskResult& result) {
  nlohmann::ordered_json items = nlohmann::ordered_json::array();
  for (size_t i = 0; i < result.items.size(); ++i) {
    const ItemResult& item = result.items[i];
    nlohmann::ordered_json choices = nlohmann::ordered_json::array();
    for (const TextLikelihood& choice : item.choices)
      choices.push_back(
          {{"log_likelihood", choice.nats}, {"greedy", choice.greedy}, {"tokens", choice.tokens}});
    items.push_back({{"gold", task.items[i].gold},
                     {"acc", item.by_sum},
                     {"acc_norm", item.by_characters},
                     {"acc_bytes", item.by_bytes},
                     {"choices", choices}});
  }
  return items;
}

/// One line of the table, and the same as JSON.
nlohmann::ordered_json report(const Task& task,
                              const TaskResult& result,
                              const Options& options,
                              const Context& context) {
  nlohmann::ordered_json object = {{"form", task.form}, {"items", result.items.size()}};
  std::string line = fmt::format("{:<24} {:>6} items", task.name, result.items.size());
  const auto add = [&](const char* name, const Measure& measure) {
    object[name] = measure.value;
    object[fmt::format("{}_stderr", name)] = measure.stderr_;
    line += fmt::format("  {} {:.4f} ± {:.4f}", name, measure.value, measure.stderr_);
  };
  add("acc", result.acc);
  if (task.cloze()) {
    add("perplexity", result.perplexity);
  } else {
    add("acc_norm", result.acc_norm);
    add("acc_bytes", result.acc_bytes);
  }
  context.print("{}", line);
  if (options.per_item) object["per_item"] = items_json(task, result);
  return object;
}

ExitCode run_tasks(const Options& options, const Context& context) {
  if (options.few_shot.shots > 0 && options.few_shot.file.empty())
    fail_user("--shots needs --shots-from FILE, whose first items stand before each question");
  std::vector<Task> tasks;
  for (const std::string& word : options.tasks) tasks.push_back(read_task(word, options.few_shot));
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team, {.as_stored = true});
  for (const std::string& note : model.notes()) context.note("{}", note);
  nlohmann::ordered_json results = nlohmann::ordered_json::object();
  for (const Task& task : tasks)
    results[task.name] =
        report(task, score_task(model, task, options.bos, machine.team), options, context);
  context.result({{"model", model.origin()}, {"tasks", results}});
  return ExitCode::kDone;
}

ExitCode run(const Options& options, const Context& context) {
  if (!options.tasks.empty()) return run_tasks(options, context);
  if (options.data.empty() == options.text.empty())
    fail_user("say what to score: --data STORE.h5, --text FILE or --tasks FILE.jsonl");
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team, {.as_stored = true});
  for (const std::string& note : model.notes()) context.note("{}", note);
  if (options.stride < 0 || options.stride > model.config().context)
    fail_user("--stride {}: a stride lies within 1 and the context, {}", options.stride,
              model.config().context);
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

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, kAnyModel)->required();
  Flag* const data =
      app.add_option("--data", options->data, "token store, or token file of llm.c or Megatron");
  Flag* const text =
      app.add_option("--text", options->text, "text: files, folders or globs")->excludes(data);
  const Flag* const tasks =
      app.add_option(
             "--tasks", options->tasks,
             "multiple choice or cloze: FILE.jsonl or NAME=FILE.jsonl (piqa, hellaswag, arc, "
             "winogrande, openbookqa, boolq, copa, sciq, blimp, lambada, or query/choices/gold)")
          ->excludes(data)
          ->excludes(text);
  app.add_option(
         "--stride", options->stride,
         "windows of the context at this stride, so that all but the first tokens have context; "
         "0: windows without overlap")
      ->capture_default_str()
      ->excludes(tasks);
  app.add_option("--shots", options->few_shot.shots, "so many solved items before each question")
      ->check(in_range(0, 1 << 20))
      ->needs(tasks);
  app.add_option("--shots-from", options->few_shot.file, "the JSON lines they are taken from")
      ->needs(tasks);
  app.add_flag("--bos", options->bos, "put the separator before each question")->needs(tasks);
  app.add_flag("--per-item", options->per_item,
               "with --json: each item's log-likelihoods and choice")
      ->needs(tasks);
  app.add_flag("--per-token", options->per_token, "with --json: every scored id and its nats")
      ->excludes(tasks);
  app.add_threads(options->threads);
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command eval_command() {
  return {"eval",
          "loss, perplexity and bits per byte of a model on text; multiple choice and cloze",
          "isoflop eval runs/first --text book.txt\n  isoflop eval model.gguf --data valid.h5 "
          "--json\n  isoflop "
          "eval model.gguf --tasks piqa=valid.jsonl",
          declare};
}

}  // namespace isoflop
