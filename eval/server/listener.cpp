#include "eval/server/listener.hpp"

#include "core/error.hpp"

#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

namespace isoflop {

namespace {

using Clock = std::chrono::steady_clock;

class Arriving;

/// The connection that this thread serves, and where it is entered until its request is whole.
thread_local socket_t own_socket = -1;
thread_local Arriving* own_arriving = nullptr;
/// In the accepting thread: nobody is free for the connection at hand.
thread_local bool turn_away = false;

bool peer_is_gone(socket_t socket) {
  char byte;
  const ssize_t got = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/// The connections whose request has not arrived whole. Sockets are entered by their threads and
/// left before they are closed, so that none here is another connection's by now.
class Arriving {
 public:
  void enter(socket_t socket) {
    const std::scoped_lock lock(mutex_);
    list_.push_back({socket, Clock::now()});
  }
  void leave(socket_t socket) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(list_, [&](const One& one) { return one.socket == socket; });
  }
  /// Ends the one that has been arriving longest, if that is longer than a good client's takes.
  bool give_up_oldest() {
    const std::scoped_lock lock(mutex_);
    if (list_.empty() || Clock::now() - list_.front().since < kPatience) return false;
    ::shutdown(list_.front().socket, SHUT_RD);  // its thread, which waits for more, wakes up
    list_.pop_front();
    return true;
  }

 private:
  static constexpr std::chrono::milliseconds kPatience{500};
  struct One {
    socket_t socket;
    Clock::time_point since;
  };
  std::mutex mutex_;
  std::deque<One> list_;  // in the order of their arrival
};

/// Threads made once. A connection that finds none free takes that of the slowest to send its
/// request; when all others are being answered, it is turned away.
class Connections : public httplib::TaskQueue {
 public:
  Connections(size_t threads, Arriving& arriving)
      : arriving_(arriving), free_(static_cast<int64_t>(threads)) {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
  }

  void enqueue(std::function<void()> task) override {
    {
      const std::scoped_lock lock(mutex_);
      if (free_ > 0 || arriving_.give_up_oldest()) {
        --free_;
        tasks_.push_back(std::move(task));
        arrived_.notify_one();
        return;
      }
    }
    turn_away = true;
    task();
    turn_away = false;
  }

  void shutdown() override {
    {
      const std::scoped_lock lock(mutex_);
      ending_ = true;
      arrived_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }

 private:
  void work() {
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        arrived_.wait(lock, [&] { return ending_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
      const std::scoped_lock lock(mutex_);
      ++free_;
    }
  }

  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::function<void()>> tasks_;
  Arriving& arriving_;
  int64_t free_;  // below 0: so many wait for threads that were told to give up
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

/// The socket as the HTTP library reads and writes it, with limits of time and size.
class ClientStream : public httplib::Stream {
 public:
  ClientStream(socket_t socket, const ListenLimits& limits, const std::atomic<bool>& stopping)
      : socket_(socket),
        limits_(limits),
        stopping_(stopping),
        read_until_(Clock::now() + std::chrono::seconds(limits.read_seconds)),
        left_(limits.body_bytes + kHeaderBytes) {}

  bool is_readable() const override { return !peer_is_gone(socket_); }
  bool is_writable() const override { return !peer_is_gone(socket_); }
  socket_t socket() const override { return socket_; }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    ip.clear();
    port = 0;
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    get_remote_ip_and_port(ip, port);
  }

  ssize_t read(char* out, size_t size) override {
    if (at_ == end_) {
      if (left_ == 0 || !wait(POLLIN, read_until_)) return -1;
      const ssize_t got = ::recv(socket_, buffer_, std::min(sizeof(buffer_), left_), 0);
      if (got <= 0) return got;
      at_ = 0;
      end_ = static_cast<size_t>(got);
      left_ -= end_;
    }
    const size_t count = std::min(size, end_ - at_);
    std::copy_n(buffer_ + at_, count, out);
    at_ += count;
    return static_cast<ssize_t>(count);
  }

  ssize_t write(const char* data, size_t size) override {
    size_t sent = 0;
    while (sent < size) {
      if (!wait(POLLOUT, Clock::now() + std::chrono::seconds(limits_.write_seconds))) return -1;
      const ssize_t n = ::send(socket_, data + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) continue;
      if (n <= 0) return -1;
      sent += static_cast<size_t>(n);
    }
    return static_cast<ssize_t>(size);
  }

 private:
  static constexpr size_t kHeaderBytes = 64 << 10;

  bool wait(short event, Clock::time_point until) const {
    while (Clock::now() < until && !(stopping_ && event == POLLIN)) {
      pollfd one = {socket_, event, 0};
      const int ready = ::poll(&one, 1, 100);
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
    }
    return false;
  }

  socket_t socket_;
  const ListenLimits& limits_;
  const std::atomic<bool>& stopping_;
  Clock::time_point read_until_;
  size_t left_;
  char buffer_[4096];
  size_t at_ = 0, end_ = 0;
};

}  // namespace

class Listener::Server : public httplib::Server {
 public:
  Server(const ListenLimits& limits, std::function<std::string(int)> error_body)
      : limits_(limits), error_body_(std::move(error_body)) {
    new_task_queue = [this] { return new Connections(limits_.connections, arriving_); };
    set_payload_max_length(limits_.body_bytes);
    set_error_handler([this](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      response.set_content(error_body_(response.status), "application/json");
    });
    set_exception_handler([](const httplib::Request&, httplib::Response& response,
                             std::exception_ptr) { response.status = 500; });
  }

  void start() {
    // The library lets five connections wait to be accepted; more are kept waiting for seconds.
    ::listen(svr_sock_, SOMAXCONN);
    // Signals are for the thread that computes; new threads inherit the mask.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { listen_after_bind(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    while (!is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void end() {
    stopping_ = true;
    if (is_running()) httplib::Server::stop();
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

  int port = 0;

 private:
  bool process_and_close_socket(socket_t socket) override {
    bool served = false;
    if (turn_away) {
      const std::string body = error_body_(503);
      const std::string text = fmt::format(
          "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
          "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
          body.size(), body);
      // A fresh socket has room for this; if not, the client is no worse off.
      ::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
      own_socket = socket;
      own_arriving = &arriving_;
      arriving_.enter(socket);
      ClientStream stream(socket, limits_, stopping_);
      bool closed = false;
      served = process_request(stream, true, closed, nullptr);
      arriving_.leave(socket);
      own_socket = -1;
    }
    ::shutdown(socket, SHUT_RDWR);
    ::close(socket);
    return served;
  }

  const ListenLimits limits_;
  std::function<std::string(int)> error_body_;
  Arriving arriving_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

static void answer(const HttpHandler& handler, const httplib::Request& in, httplib::Response& out) {
  const socket_t socket = own_socket;
  own_arriving->leave(socket);
  HttpResponse made = handler({.body = in.body,
                               .authorization = in.get_header_value("Authorization"),
                               .client_is_gone = [socket] { return peer_is_gone(socket); }});
  out.status = made.status;
  if (made.status == 503) out.set_header("Retry-After", "1");
  if (!made.stream) {
    out.set_content(made.body, made.content_type.c_str());
    return;
  }
  out.set_header("Cache-Control", "no-cache");
  out.set_chunked_content_provider(
      made.content_type.c_str(),
      [stream = std::move(made.stream)](size_t, httplib::DataSink& sink) {
        const auto write = [&](std::string_view text) {
          return sink.is_writable() && sink.write(text.data(), text.size());
        };
        if (!stream(write)) sink.done();
        return true;
      },
      [at_end = std::move(made.at_end)](bool) {
        if (at_end) at_end();
      });
}

Listener::Listener(const std::string& host,
                   int port,
                   const ListenLimits& limits,
                   std::map<std::string, HttpHandler> handlers,
                   std::function<std::string(int)> error_body)
    : server_(std::make_unique<Server>(limits, std::move(error_body))) {
  for (auto& [route, handler] : handlers) {
    const size_t space = route.find(' ');
    const auto call = [handler = std::move(handler)](const httplib::Request& in,
                                                     httplib::Response& out) {
      answer(handler, in, out);
    };
    if (route.substr(0, space) == "GET")
      server_->Get(route.substr(space + 1), call);
    else
      server_->Post(route.substr(space + 1), call);
  }
  server_->port = port;
  if (port == 0)
    server_->port = server_->bind_to_any_port(host);
  else if (!server_->bind_to_port(host, port))
    server_->port = -1;
  if (server_->port < 0)
    fail_user("cannot listen on {} port {}: {}; choose another --port or --host", host, port,
              std::strerror(errno));
  server_->start();
}

Listener::~Listener() {
  stop();
  server_->join();
}

int Listener::port() const {
  return server_->port;
}

void Listener::stop() {
  server_->end();
}

}  // namespace isoflop
