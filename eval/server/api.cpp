#include "eval/server/api.hpp"

#include "core/error.hpp"
#include "eval/server/request.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

/// What the engine needs to end a text that is out of time.
constexpr std::chrono::seconds kGrace{5};

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json error_json(const std::string& message, int status, const char* code) {
  const char* type = status >= 500 ? "server_error" : "invalid_request_error";
  return {{"error", {{"message", message}, {"type", type}, {"param", nullptr}, {"code", code}}}};
}

HttpResponse failure(int status, const std::string& message, const char* code = nullptr) {
  Json json = error_json(message, status, code ? code : "");
  if (!code) json["error"]["code"] = nullptr;
  return {.status = status, .body = dumped(json)};
}

/// What a request is refused for, with OpenAI's code for it.
struct Refusal : UserError {
  Refusal(const std::string& text, const char* c) : UserError(text), code(c) {}
  const char* code;
};

const char* finish_reason(Job::End end) {
  return end == Job::End::stop ? "stop" : "length";
}

}  // namespace

struct Api::Task {
  std::shared_ptr<Job> job = std::make_shared<Job>();
  bool chat = false, stream = false, usage = false;
  std::string id;
  int64_t created = 0;
  bool opened = false;  // of a stream: the first chunk is out
};

Api::Api(const ChatModel& chat,
         Engine& engine,
         std::string name,
         const SamplingOptions& sampling,
         const ApiLimits& limits)
    : chat_(chat),
      engine_(engine),
      name_(std::move(name)),
      sampling_(sampling),
      limits_(limits),
      started_(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())) {}

std::map<std::string, HttpHandler> Api::handlers() {
  const auto chat = [this](const HttpRequest& request) { return complete(request, true); };
  const auto text = [this](const HttpRequest& request) { return complete(request, false); };
  return {{"POST /v1/chat/completions", chat},
          {"POST /v1/completions", text},
          {"GET /v1/models", [this](const HttpRequest&) { return models(); }},
          {"GET /health", [this](const HttpRequest&) { return health(); }},
          {"GET /metrics", [this](const HttpRequest&) { return metrics(); }}};
}

std::string Api::error_body(int status) {
  const char* message = status == 404   ? "nothing answers this method at this address"
                        : status == 413 ? "the request is too large"
                        : status == 414 ? "the address is too long"
                        : status == 503 ? "all connections are taken; try again"
                        : status >= 500 ? "something went wrong here"
                                        : "this is no request that can be answered";
  const char* code = status == 404   ? "not_found"
                     : status == 413 ? "request_too_large"
                     : status == 503 ? "overloaded"
                                     : "bad_request";
  return dumped(error_json(message, status, code));
}

std::shared_ptr<Api::Task> Api::read_task(const Json& body, bool chat) {
  if (!body.is_object()) fail_user("the body must be a JSON object");
  refuse_unsupported(body);
  auto task = std::make_shared<Task>();
  Job& job = *task->job;
  task->chat = chat;
  task->stream = flag_in(body, "stream");
  if (body.contains("stream_options") && body["stream_options"].is_object())
    task->usage = flag_in(body["stream_options"], "include_usage");
  job.generate.slide = false;
  job.generate.stop_tokens = chat_.end_ids();
  job.stops = stops_in(body);
  if (chat) {
    Json more = Json::object();
    for (const char* key : {"tools", "documents"})
      if (body.contains(key) && !body[key].is_null()) more[key] = body[key];
    job.prompt = chat_.tokens_of(chat_.render(messages_in(body), more));
    job.stops.push_back(chat_.answer_end());
  } else {
    job.prompt = prompt_in(body, chat_.tokenizer());
  }
  const auto size = static_cast<int64_t>(job.prompt.size());
  if (size >= engine_.context())
    throw Refusal(fmt::format("the prompt has {} tokens, and the model's context is {}", size,
                              engine_.context()),
                  "context_length_exceeded");
  const int64_t asked = integer_in(body, "max_tokens", limits_.tokens, 1, 1 << 30);
  job.generate.tokens =
      std::min(integer_in(body, "max_completion_tokens", asked, 1, 1 << 30), limits_.tokens);
  SamplingOptions& s = job.generate.sampling;
  s = sampling_;
  const uint32_t number = ++requests_;
  s.sequence = number;
  s.temperature = number_in(body, "temperature", s.temperature, 0, 100);
  s.top_p = number_in(body, "top_p", s.top_p, 0, 1);
  s.min_p = number_in(body, "min_p", s.min_p, 0, 1);
  s.top_k = integer_in(body, "top_k", s.top_k, 0, 1 << 30);
  s.repeat_penalty = number_in(body, "repeat_penalty", s.repeat_penalty, 0.01, 100);
  if (body.contains("seed") && !body["seed"].is_null()) {
    s.seed = static_cast<uint64_t>(integer_in(body, "seed", 0, INT64_MIN, INT64_MAX));
    s.sequence = 0;  // the same request, the same answer
  }
  job.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(limits_.seconds);
  task->id = fmt::format("{}-{}-{}", chat ? "chatcmpl" : "cmpl", started_, number);
  task->created = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return task;
}

HttpResponse Api::complete(const HttpRequest& request, bool chat) {
  std::shared_ptr<Task> task;
  try {
    if (chat) chat_.require_template();
    task = read_task(parse_body(request.body), chat);
  } catch (const Refusal& e) {
    return failure(400, e.what(), e.code);
  } catch (const UserError& e) {
    return failure(400, e.what());
  }
  if (!engine_.submit(task->job))
    return failure(503, "too many requests are waiting; try again", "overloaded");
  return task->stream ? streamed(task) : whole(task, request);
}

Json Api::envelope(const Task& task, bool chunk) const {
  const char* object =
      task.chat ? chunk ? "chat.completion.chunk" : "chat.completion" : "text_completion";
  return {{"id", task.id}, {"object", object}, {"created", task.created}, {"model", name_}};
}

static Json usage_of(const Job& job) {
  const auto prompt = static_cast<int64_t>(job.prompt.size());
  return {{"prompt_tokens", prompt},
          {"completion_tokens", job.written()},
          {"total_tokens", prompt + job.written()},
          {"prompt_tokens_details", {{"cached_tokens", job.reused()}}}};
}

HttpResponse Api::whole(const std::shared_ptr<Task>& task, const HttpRequest& request) const {
  Job& job = *task->job;
  std::string text, piece;
  for (bool done = false; !done;) {
    done = job.take(piece, std::chrono::milliseconds(500));
    text += piece;
    const bool late = std::chrono::steady_clock::now() > job.deadline + kGrace;  // still waiting
    if (done || (!late && !request.client_is_gone())) continue;
    job.cancel();
    return failure(503, "the request was given up before it was done", "timeout");
  }
  if (job.end() == Job::End::failed) return failure(500, "the model failed on this text");
  if (job.end() == Job::End::cancelled)
    return failure(503, "the request was given up before it was done", "timeout");
  Json choice = {{"index", 0}};
  if (task->chat)
    choice["message"] = {{"role", "assistant"}, {"content", text}};
  else
    choice["text"] = text;
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = finish_reason(job.end());
  Json body = envelope(*task, false);
  body["choices"] = Json::array({choice});
  body["usage"] = usage_of(job);
  return {.body = dumped(body)};
}

HttpResponse Api::streamed(const std::shared_ptr<Task>& task) const {
  const auto event = [](const Json& json) { return "data: " + dumped(json) + "\n\n"; };
  const auto chunk = [this, task](const std::string& text, const char* reason) {
    Json choice = {{"index", 0}};
    if (!task->chat) {
      choice["text"] = text;
    } else {
      choice["delta"] = Json::object();
      if (!task->opened) choice["delta"]["role"] = "assistant";
      if (!reason) choice["delta"]["content"] = text;
    }
    task->opened = true;
    choice["finish_reason"] = reason ? Json(reason) : Json();
    Json json = envelope(*task, true);
    json["choices"] = Json::array({choice});
    return json;
  };
  const auto more = [=, this](const std::function<bool(std::string_view)>& write) {
    Job& job = *task->job;
    std::string text;
    const bool done = job.take(text, std::chrono::milliseconds(500));
    std::string out;
    if (!text.empty() || (task->chat && !task->opened && done)) out += event(chunk(text, nullptr));
    const bool late = !done && std::chrono::steady_clock::now() > job.deadline + kGrace;
    if (late) job.cancel();
    if (done || late) {
      const bool good = done && job.end() != Job::End::failed && job.end() != Job::End::cancelled;
      out += good ? event(chunk("", finish_reason(job.end())))
                  : event(error_json("the text was given up", 500, "interrupted"));
      if (good && task->usage) {
        Json json = envelope(*task, true);
        json["choices"] = Json::array();
        json["usage"] = usage_of(job);
        out += event(json);
      }
      out += "data: [DONE]\n\n";
    } else if (out.empty()) {
      out = ": waiting\n\n";  // a comment, which shows whether the client is still there
    }
    if (!write(out)) {
      job.cancel();
      return false;
    }
    return !done && !late;
  };
  return {.content_type = "text/event-stream", .stream = more, .at_end = [task] {
            task->job->cancel();
          }};
}

HttpResponse Api::models() const {
  const Json model = {
      {"id", name_}, {"object", "model"}, {"created", started_}, {"owned_by", "isoflop"}};
  return {.body = dumped({{"object", "list"}, {"data", Json::array({model})}})};
}

HttpResponse Api::health() const {
  return {.body = dumped({{"status", "ok"}, {"model", name_}, {"waiting", engine_.waiting()}})};
}

HttpResponse Api::metrics() const {
  std::string text;
  for (const auto& [name, type, value] :
       {std::tuple{"isoflop_serve_requests_total", "counter", engine_.jobs()},
        {"isoflop_serve_tokens_total", "counter", engine_.tokens()},
        {"isoflop_serve_waiting", "gauge", static_cast<uint64_t>(engine_.waiting())}})
    text += fmt::format("# TYPE {} {}\n{} {}\n", name, type, name, value);
  return {.content_type = "text/plain; version=0.0.4", .body = text};
}

}  // namespace isoflop
