#include "eval/generate.hpp"

#include "eval/language_model.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/signals.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <chrono>
#include <memory>

namespace isoflop {

namespace {

constexpr int64_t kPromptTokens = 512;  // read at once

struct Options {
  std::string model;
  std::string prompt;
  GenerateOptions generate;
  int threads = 0;
};

/// When tokens came. The first one ends the reading of the prompt; rates are 0 without tokens.
class Pace {
 public:
  void token() {
    last_ = Clock::now();
    if (tokens_++ == 0) first_ = last_;
  }
  double prompt_rate(size_t prompt) const {
    return tokens_ > 0 ? static_cast<double>(prompt) / seconds(start_, first_) : 0;
  }
  double token_rate() const {
    return tokens_ > 1 ? static_cast<double>(tokens_ - 1) / seconds(first_, last_) : 0;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double seconds(Clock::time_point from, Clock::time_point to) {
    return std::chrono::duration<double>(to - from).count();
  }
  Clock::time_point start_ = Clock::now(), first_, last_;
  int64_t tokens_ = 0;
};

ExitCode run(const Options& options, const Context& context) {
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team,
                      {.as_stored = true, .tokens = kPromptTokens});
  for (const std::string& note : model.notes()) context.note("{}", note);
  const Tokenizer& tokenizer = model.tokenizer();

  std::vector<int32_t> prompt;
  if (tokenizer.separator() >= 0 && options.prompt.empty()) prompt.push_back(tokenizer.separator());
  tokenizer.encode(options.prompt, prompt);
  if (prompt.empty()) fail_user("this tokenizer has no separator to start from; give a prompt");

  GenerateOptions generate_options = options.generate;
  generate_options.stop_token = tokenizer.separator();
  install_stop_signals();
  if (!context.json) context.print_raw(options.prompt);
  KvCache cache(model.config(), *machine.backend);
  Pace pace;
  const std::vector<int32_t> ids =
      generate(model.model(), cache, prompt, generate_options, [&](int32_t id) {
        pace.token();
        if (!context.json) context.print_raw(tokenizer.decode({&id, 1}));
        return !stop_requested();
      });
  if (!context.json) context.print_raw("\n");
  const double read = pace.prompt_rate(prompt.size()), written = pace.token_rate();
  if (ids.size() > 1)
    context.note("{} tokens read at {:.3g}/s, {} written at {:.3g}/s", prompt.size(), read,
                 ids.size(), written);
  // Text cut inside a character is made printable; `ids` says exactly what was drawn.
  context.result({{"text", tokenizer.decode(ids)},
                  {"ids", ids},
                  {"prompt_tokens_per_s", read},
                  {"tokens_per_s", written}});
  return stop_requested().value_or(ExitCode::kDone);
}

Action declare(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  GenerateOptions& g = options->generate;
  app.add_option("model", options->model, "run folder, checkpoint or GGUF file")->required();
  app.add_option("prompt", options->prompt, "text to go on from; empty: a new document");
  app.add_option("-n,--tokens", g.tokens, "tokens to write at most")->check(CLI::Range(1, 1 << 30));
  app.add_option("--temperature", g.temperature, "0: always the most likely token")
      ->check(CLI::Range(0.0, 100.0));
  app.add_option("--top-k", g.top_k, "draw from the k most likely tokens; 0 = all")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--top-p", g.top_p, "draw from the most likely tokens with this much probability")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--seed", g.seed, "another seed, another text");
  app.add_option("--threads", options->threads, "cores to use; 0 = all");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command generate_command() {
  return {"generate", "write text with a model",
          "isoflop generate runs/first \"Once upon\" -n 64\n  isoflop generate model.gguf \"Once "
          "upon\" "
          "--temperature 0",
          declare};
}

}  // namespace isoflop
