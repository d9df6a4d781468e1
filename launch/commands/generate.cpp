#include "eval/generate.hpp"

#include "eval/language_model.hpp"
#include "eval/text_stream.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/sampling_flags.hpp"
#include "launch/signals.hpp"

#include <nlohmann/json.hpp>

#include <chrono>
#include <memory>

namespace isoflop {

namespace {

constexpr int64_t kPromptTokens = 512;  // read at once

struct Options {
  std::string model;
  std::string prompt;
  std::string prompt_file;
  GenerateOptions generate;
  std::vector<std::string> stops;
  uint32_t sequences = 1;
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

/// The prompt as given; a file without its last line break.
std::string prompt_of(const Options& options) {
  if (options.prompt_file.empty()) return options.prompt;
  if (!options.prompt.empty()) fail_user("give a prompt or --prompt-file, not both");
  std::string text = options.prompt_file == "-" ? read_stdin() : read_file(options.prompt_file);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

struct Writing {
  std::string text;
  std::vector<int32_t> ids;
  double prompt_rate = 0, rate = 0;
};

Writing write(Session& session,
              const Tokenizer& tokenizer,
              std::span<const int32_t> prompt,
              const GenerateOptions& generate_options,
              const Options& options,
              const Context& context) {
  TextStream stream(tokenizer, options.stops);
  Writing writing;
  const auto show = [&](const std::string& text) {
    writing.text += text;
    if (!context.json) context.print_raw(text);
  };
  Pace pace;
  writing.ids = generate(
                    session, prompt, generate_options,
                    [&](int32_t id) {
                      pace.token();
                      show(stream.push(id));
                      return !stop_requested() && !stream.stopped();
                    },
                    [] { return stop_requested().has_value(); })
                    .ids;
  show(stream.finish());
  if (!context.json) context.print_raw("\n");
  writing.prompt_rate = pace.prompt_rate(prompt.size());
  writing.rate = pace.token_rate();
  return writing;
}

ExitCode run(const Options& options, const Context& context) {
  const std::string prompt_text = prompt_of(options);
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team,
                      {.as_stored = true, .tokens = kPromptTokens});
  for (const std::string& note : model.notes()) context.note("{}", note);
  const Tokenizer& tokenizer = model.tokenizer();

  std::vector<int32_t> prompt;
  if (tokenizer.separator() >= 0 && prompt_text.empty()) prompt.push_back(tokenizer.separator());
  tokenizer.encode(prompt_text, prompt);
  if (prompt.empty()) fail_user("this tokenizer has no separator to start from; give a prompt");

  GenerateOptions generate_options = options.generate;
  if (tokenizer.separator() >= 0) generate_options.stop_tokens = {tokenizer.separator()};
  install_stop_signals();
  Session session(model.model(), *machine.backend);
  std::vector<Writing> writings;
  for (uint32_t i = 0; i < options.sequences && !stop_requested(); ++i) {
    if (options.sequences > 1) context.note("text {} of {}:", i + 1, options.sequences);
    generate_options.sampling.sequence = i;
    if (!context.json) context.print_raw(prompt_text);
    writings.push_back(write(session, tokenizer, prompt, generate_options, options, context));
    const Writing& w = writings.back();
    if (i == 0 && w.ids.size() > 1)
      context.note("{} tokens read at {:.3g}/s, {} written at {:.3g}/s", prompt.size(),
                   w.prompt_rate, w.ids.size(), w.rate);
  }
  // Bytes that are no character are U+FFFD in `text`; `ids` says exactly what was drawn.
  if (!writings.empty()) {
    const Writing& first = writings.front();
    nlohmann::ordered_json all = nlohmann::ordered_json::array();
    for (const Writing& w : writings) all.push_back({{"text", w.text}, {"ids", w.ids}});
    context.result({{"text", first.text},
                    {"ids", first.ids},
                    {"prompt_tokens_per_s", first.prompt_rate},
                    {"tokens_per_s", first.rate},
                    {"sequences", all}});
  }
  return stop_requested().value_or(ExitCode::kDone);
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  GenerateOptions& g = options->generate;
  app.add_option("model", options->model, kAnyModel)->required();
  app.add_option("prompt", options->prompt, "text to go on from; empty: a new document");
  app.add_option("-n,--tokens", g.tokens, "tokens to write at most")->check(in_range(1, 1 << 30));
  add_sampling_flags(app, g.sampling);
  app.add_option("--stop", options->stops, "end where this text appears; may be given again");
  app.add_option("--prompt-file", options->prompt_file,
                 "read the prompt from a file; - = standard input");
  app.add_option("--sequences", options->sequences, "texts to write, each from draws of its own")
      ->check(in_range(1, 10000));
  app.add_threads(options->threads);
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
