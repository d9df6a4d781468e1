// Listener: HTTP on a socket with everything bounded, whatever the clients do.
//
// A fixed number of threads, each with one connection; a connection carries one request and is
// closed. One more than that takes the place of the connection that has been sending its request
// longest, if that is longer than half a second; else it is told 503 and closed at once. A request
// has to arrive whole within a time and a size; a response has to be taken within a time between
// two writes. Slow, silent and half-open clients so cost a thread while nobody else wants it, and
// no memory to speak of.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace isoflop {

struct ListenLimits {
  size_t connections = 64;
  size_t body_bytes = 1 << 20;
  int read_seconds = 10;   // for the whole request
  int write_seconds = 10;  // without any byte taken
};

struct HttpRequest {
  std::string body;
  std::string authorization;
  std::function<bool()> client_is_gone;
};

/// `body`, or when there is a `stream` what that writes: it is called until it returns false, and
/// its argument returns false once the client has gone.
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  std::function<bool(const std::function<bool(std::string_view)>&)> stream = {};
  std::function<void()> at_end = {};  // of a stream, however it ends
};

using HttpHandler = std::function<HttpResponse(const HttpRequest&)>;

class Listener {
 public:
  /// Handlers by "GET /path"; called by several threads at once. `error_body` makes the JSON body
  /// of the answers that the listener gives itself. UserError when the address cannot be bound;
  /// port 0 is any free one.
  Listener(const std::string& host,
           int port,
           const ListenLimits& limits,
           std::map<std::string, HttpHandler> handlers,
           std::function<std::string(int status)> error_body);
  /// Stops, and waits for all threads.
  ~Listener();

  int port() const;
  /// Takes no more connections; requests that are still arriving are given up.
  void stop();

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

}  // namespace isoflop
