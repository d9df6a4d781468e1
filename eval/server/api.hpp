// Api: requests in OpenAI's shape to jobs of the engine, and what they write back in that shape.
// Settings that would be ignored are refused, so that nobody takes an answer for what it is not.
#pragma once
#include "eval/chat.hpp"
#include "eval/server/engine.hpp"
#include "eval/server/listener.hpp"

#include <nlohmann/json_fwd.hpp>

#include <atomic>
#include <map>
#include <string>

namespace isoflop {

struct ApiLimits {
  int64_t tokens = 1024;  // of an answer, also when the request names none
  int64_t seconds = 120;  // of a request, waiting included
};

class Api {
 public:
  /// All outlive it. `name` is the model's for clients; `sampling` is for requests that say
  /// nothing.
  Api(const ChatModel& chat,
      Engine& engine,
      std::string name,
      const SamplingOptions& sampling,
      const ApiLimits& limits);

  /// By route, for a Listener.
  std::map<std::string, HttpHandler> handlers();
  /// OpenAI's error object, as text.
  static std::string error_body(int status);

 private:
  struct Task;
  HttpResponse complete(const HttpRequest& request, bool chat);
  HttpResponse models() const;
  HttpResponse health() const;
  HttpResponse metrics() const;
  std::shared_ptr<Task> read_task(const nlohmann::ordered_json& body, bool chat);
  HttpResponse whole(const std::shared_ptr<Task>& task, const HttpRequest& request) const;
  HttpResponse streamed(const std::shared_ptr<Task>& task) const;
  nlohmann::ordered_json envelope(const Task& task, bool chunk) const;

  const ChatModel& chat_;
  Engine& engine_;
  std::string name_;
  SamplingOptions sampling_;
  ApiLimits limits_;
  int64_t started_;
  std::atomic<uint32_t> requests_{0};
};

}  // namespace isoflop
