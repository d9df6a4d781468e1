#include "eval/server/api.hpp"
#include "eval/server/engine.hpp"
#include "eval/server/listener.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/sampling_flags.hpp"
#include "launch/signals.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

constexpr int64_t kPromptTokens = 512;  // read at once

struct Options {
  std::string model;
  std::string chat_template;
  std::string name;
  std::string host = "127.0.0.1";
  int port = 8080;
  size_t queue = 32;
  ListenLimits listen;
  ApiLimits api;
  SamplingOptions sampling;
  int threads = 0;
};

ExitCode run(const Options& options, const Context& context) {
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team,
                      {.as_stored = true, .tokens = kPromptTokens});
  for (const std::string& note : model.notes()) context.note("{}", note);
  const ChatModel chat(model, options.chat_template);
  if (!chat.has_template())
    context.note("this is a base model: /v1/completions only, unless --chat-template names one");
  Session session(model.model(), *machine.backend);
  Engine engine(session, model.tokenizer(), options.queue);
  const fs::path path(options.model);
  const std::string name = !options.name.empty() ? options.name
                           : path.has_stem()     ? path.stem().string()
                                                 : options.model;
  Api api(chat, engine, name, options.sampling, options.api);
  install_stop_signals();
  Listener listener(options.host, options.port, options.listen, api.handlers(), Api::error_body);
  // Scripts wait for this line, so it is printed when connections are taken.
  context.print("http://{}:{}/v1 serves {}; Ctrl-C ends", options.host, listener.port(), name);
  engine.run([] { return stop_requested().has_value(); });
  listener.stop();
  context.note("{} requests answered, {} tokens written", engine.jobs(), engine.tokens());
  context.result(
      {{"port", listener.port()}, {"requests", engine.jobs()}, {"tokens", engine.tokens()}});
  // There is nothing to save and go on with: asked to end and ended is done.
  return ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  Options& o = *options;
  app.add_option("model", o.model, kAnyModel)->required();
  app.add_option("--host", o.host, "address to listen on; anything but loopback is open to others")
      ->capture_default_str();
  app.add_option("--port", o.port, "0 = any free one")
      ->check(in_range(0, 65535))
      ->capture_default_str();
  app.add_option("--name", o.name, "what clients call the model; else its file's name");
  app.add_option("--chat-template", o.chat_template,
                 fmt::format("instead of the model's own: {}, or a file", chat_template_names()));
  app.add_option("--max-tokens", o.api.tokens, "of an answer")
      ->check(in_range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--max-seconds", o.api.seconds, "of a request, waiting included")
      ->check(in_range(1, 86400))
      ->capture_default_str();
  app.add_option("--max-body", o.listen.body_bytes, "bytes of a request")
      ->check(in_range(1, 1 << 30))
      ->capture_default_str();
  app.add_option("--connections", o.listen.connections, "at once, each with a thread; more get 503")
      ->check(in_range(1, 1024))
      ->capture_default_str();
  app.add_option("--queue", o.queue, "requests that wait for the model; more get 503")
      ->check(in_range(1, 100000))
      ->capture_default_str();
  add_sampling_flags(app, o.sampling);
  app.add_threads(o.threads);
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command serve_command() {
  return {
      "serve", "answer over HTTP as OpenAI's API does",
      "isoflop serve model.gguf --port 8080\n  curl http://127.0.0.1:8080/v1/chat/completions -d "
      "'{\"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'",
      declare};
}

}  // namespace isoflop
