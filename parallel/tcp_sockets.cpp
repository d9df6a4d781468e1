#include "parallel/tcp_sockets.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace isoflop {

namespace {

using Clock = std::chrono::steady_clock;

bool connect_one(int socket, const addrinfo& to, SocketTime end) {
  const int flags = ::fcntl(socket, F_GETFL);
  ::fcntl(socket, F_SETFL, flags | O_NONBLOCK);
  bool connected = ::connect(socket, to.ai_addr, to.ai_addrlen) == 0;
  if (!connected && errno == EINPROGRESS) {
    pollfd one = {socket, POLLOUT, 0};
    int error = -1;
    socklen_t bytes = sizeof(error);
    connected = ::poll(&one, 1, milliseconds_until(end)) == 1 &&
                ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &bytes) == 0 && error == 0;
  }
  ::fcntl(socket, F_SETFL, flags);
  return connected;
}

int listen_one(const addrinfo& at) {
  const int socket = ::socket(at.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1, off = 0;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // "::" takes those that come by IPv4, too.
  if (at.ai_family == AF_INET6) ::setsockopt(socket, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
  if (socket >= 0 && ::bind(socket, at.ai_addr, at.ai_addrlen) == 0 && ::listen(socket, 1024) == 0)
    return socket;
  const int why = errno;
  if (socket >= 0) ::close(socket);
  errno = why;
  return -1;
}

}  // namespace

int milliseconds_until(SocketTime end) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(0, left));
}

int connect_until(const std::string& host, uint16_t port, SocketTime end) {
  addrinfo hints = {}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) return -1;
  int connected = -1;
  for (const addrinfo* each = list; each && connected < 0; each = each->ai_next) {
    const int one = ::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, 0);
    if (one >= 0 && connect_one(one, *each, end))
      connected = one;
    else if (one >= 0)
      ::close(one);
  }
  ::freeaddrinfo(list);
  if (connected >= 0) no_delay(connected);
  return connected;
}

int listen_at(const std::string& address, uint16_t port) {
  if (address.empty()) {
    const int both = listen_at("::", port);
    if (both >= 0 || errno == EADDRINUSE) return both;
    return listen_at("0.0.0.0", port);  // a kernel without IPv6
  }
  addrinfo hints = {}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  if (::getaddrinfo(address.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) {
    errno = EINVAL;
    return -1;
  }
  const int socket = listen_one(*list);
  const int why = errno;
  ::freeaddrinfo(list);
  errno = why;
  return socket;
}

SocketAddress own_address(int socket) {
  sockaddr_storage address = {};
  socklen_t bytes = sizeof(address);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &bytes);
  char host[NI_MAXHOST] = {}, port[NI_MAXSERV] = {};
  ::getnameinfo(reinterpret_cast<sockaddr*>(&address), bytes, host, sizeof(host), port,
                sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
  return {host, static_cast<uint16_t>(std::atoi(port))};
}

std::string address_text(const std::string& host, uint16_t port) {
  const bool six = host.find(':') != std::string::npos;
  return (six ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool transfer(int socket, bool sends, void* data, size_t bytes, SocketTime end) {
  auto* at = static_cast<char*>(data);
  while (bytes > 0) {
    pollfd one = {socket, static_cast<short>(sends ? POLLOUT : POLLIN), 0};
    if (::poll(&one, 1, milliseconds_until(end)) <= 0) return false;
    const ssize_t moved =
        sends ? ::send(socket, at, bytes, MSG_NOSIGNAL) : ::recv(socket, at, bytes, 0);
    if (moved <= 0) return false;
    at += moved;
    bytes -= static_cast<size_t>(moved);
  }
  return true;
}

void no_delay(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
}

}  // namespace isoflop
