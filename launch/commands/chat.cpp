#include "eval/chat.hpp"

#include "eval/text_stream.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/sampling_flags.hpp"
#include "launch/signals.hpp"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cerrno>
#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kPromptTokens = 512;  // read at once
constexpr size_t kLongestLine = 1 << 20;

struct Options {
  std::string model;
  std::string system;
  std::string chat_template;
  GenerateOptions generate;
  int threads = 0;
};

/// Lines of standard input; a signal ends the waiting.
class Lines {
 public:
  bool next(std::string& line) {
    size_t end;
    while ((end = buffer_.find('\n')) == buffer_.npos) {
      char chunk[4096];
      const ssize_t got = ::read(STDIN_FILENO, chunk, sizeof(chunk));
      if (got < 0 && errno == EINTR && !stop_requested()) continue;
      if (got < 0 && errno == EINTR) return false;
      if (got <= 0) {
        line = std::exchange(buffer_, {});
        return !line.empty();
      }
      buffer_.append(chunk, static_cast<size_t>(got));
      if (buffer_.size() > kLongestLine) fail_user("a line longer than {} bytes", kLongestLine);
    }
    line = buffer_.substr(0, end);
    buffer_.erase(0, end + 1);
    if (line.ends_with('\r')) line.pop_back();
    return true;
  }

 private:
  std::string buffer_;
};

class Chat {
 public:
  Chat(const Options& options, const Context& context)
      : options_(options),
        context_(context),
        machine_(fp32_on(options.threads)),
        model_(options.model,
               *machine_.backend,
               machine_.team,
               {.as_stored = true, .tokens = kPromptTokens}),
        chat_(model_, options.chat_template),
        session_(model_.model(), *machine_.backend),
        conversation_(chat_, session_.context()) {
    for (const std::string& note : model_.notes()) context_.note("{}", note);
    chat_.require_template();
    if (!options_.system.empty()) conversation_.set_system(whole_characters(options_.system));
  }

  ExitCode run() {
    const bool terminal = ::isatty(STDIN_FILENO) != 0 && !context_.json;
    if (terminal)
      context_.note("Ctrl-C ends an answer, and the program when there is none; /new begins anew");
    install_stop_signals();
    Lines lines;
    Json turns = Json::array();
    for (std::string line; (terminal ? context_.print_raw("> ") : void()), lines.next(line);) {
      if (line.empty()) continue;
      if (line == "/new") {
        conversation_.clear();
        continue;
      }
      try {
        answer(whole_characters(line), turns);
      } catch (const UserError& error) {
        if (!terminal) throw;
        context_.note("{}", error.what());
      }
      if (stop_requested() == ExitCode::kStopped || (stop_requested() && !terminal)) break;
      forget_interrupt();
    }
    if (terminal) context_.print_raw("\n");
    context_.result({{"turns", turns}});
    return stop_requested().value_or(ExitCode::kDone);
  }

 private:
  static std::string whole_characters(std::string bytes) {
    std::string text;
    take_characters(bytes, text, true);
    return text;
  }

  void answer(const std::string& question, Json& turns) {
    GenerateOptions generate_options = options_.generate;
    generate_options.stop_tokens = chat_.end_ids();
    generate_options.slide = false;
    generate_options.sampling.sequence = static_cast<uint32_t>(turns.size());
    const std::vector<int32_t> prompt = conversation_.ask(question, generate_options.tokens);
    if (conversation_.left_out() > 0)
      context_.note("the context of {} tokens is full: the {} oldest messages are forgotten",
                    session_.context(), conversation_.left_out());
    TextStream stream(chat_.tokenizer(), {chat_.answer_end()});
    std::string text;
    int64_t reused = -1;
    const auto show = [&](const std::string& piece) {
      text += piece;
      context_.print_raw(piece);
    };
    const auto stop = [] { return stop_requested().has_value(); };
    const Generated written = generate(
        session_, prompt, generate_options,
        [&](int32_t id) {
          if (reused < 0) reused = session_.reused();
          show(stream.push(id));
          return !stop() && !stream.stopped();
        },
        stop);
    show(stream.finish());
    context_.print_raw("\n");
    if (written.ending == Ending::context) context_.note("(the context is full)");
    conversation_.add_answer(text);
    turns.push_back({{"prompt", conversation_.rendered()},
                     {"prompt_ids", prompt},
                     {"reused_tokens", std::max<int64_t>(reused, 0)},
                     {"text", text},
                     {"ids", written.ids}});
  }

  const Options& options_;
  const Context& context_;
  Machine machine_;
  LanguageModel model_;
  ChatModel chat_;
  Session session_;
  Conversation conversation_;
};

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  options->generate.tokens = 512;
  app.add_option("model", options->model, kAnyModel)->required();
  app.add_option("-n,--tokens", options->generate.tokens, "tokens of an answer at most")
      ->check(in_range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--system", options->system, "what the model is told first");
  app.add_option("--chat-template", options->chat_template,
                 fmt::format("instead of the model's own: {}, or a file", chat_template_names()));
  add_sampling_flags(app, options->generate.sampling);
  app.add_threads(options->threads);
  return [options, &context] { return Chat(*options, context).run(); };
}

}  // namespace

Command chat_command() {
  return {"chat", "talk with a model that was tuned for it",
          "isoflop chat model.gguf\n  printf 'Hello!\\n' | isoflop chat model.gguf --temperature 0",
          declare};
}

}  // namespace isoflop
