#include "launch/supervise/sockets.hpp"

#include "core/error.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

namespace isoflop {

namespace {

struct Interface {
  std::string name;
  in_addr address;
  bool loopback;
};

/// Those with IPv4 addresses that are up, once for each address.
std::vector<Interface> interfaces() {
  std::vector<Interface> found;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return found;
  for (const ifaddrs* one = all; one; one = one->ifa_next)
    if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP))
      found.push_back({one->ifa_name, reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr,
                       (one->ifa_flags & IFF_LOOPBACK) != 0});
  ::freeifaddrs(all);
  return found;
}

std::string text_of(in_addr address) {
  char text[INET_ADDRSTRLEN] = {};
  ::inet_ntop(AF_INET, &address, text, sizeof(text));
  return text;
}

struct Subnet {
  uint32_t address, mask;
  bool holds(in_addr one) const { return (ntohl(one.s_addr) & mask) == (address & mask); }
};

/// "10.0.0.0/8"
std::optional<Subnet> parse_subnet(const std::string& text) {
  const size_t slash = text.find('/');
  in_addr address = {};
  int bits = -1;
  if (slash == text.npos || ::inet_pton(AF_INET, text.substr(0, slash).c_str(), &address) != 1)
    return std::nullopt;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data() + slash + 1, last, bits);
  if (error != std::errc() || end != last || bits < 0 || bits > 32) return std::nullopt;
  return Subnet{ntohl(address.s_addr), bits == 0 ? 0 : UINT32_MAX << (32 - bits)};
}

}  // namespace

int listen_on_free_port(bool everywhere) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(everywhere ? INADDR_ANY : INADDR_LOOPBACK);
  if (socket < 0 || ::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(socket, 1024) != 0)
    fail_io("cannot listen for ranks: {}", std::strerror(errno));
  return socket;
}

int port_of(int socket) {
  sockaddr_in address = {};
  socklen_t length = sizeof(address);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.sin_port);
}

int connect_within(const std::string& text, int port, double seconds) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, text.c_str(), &address.sin_addr) != 1) return -1;
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket < 0) return -1;
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    pollfd wanted = {socket, POLLOUT, 0};
    int error = 0;
    socklen_t length = sizeof(error);
    if (errno != EINPROGRESS || ::poll(&wanted, 1, static_cast<int>(seconds * 1000)) != 1 ||
        ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
      ::close(socket);
      return -1;
    }
  }
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return socket;
}

bool send_all(int socket, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      text.remove_prefix(static_cast<size_t>(sent));
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    pollfd wanted = {socket, POLLOUT, 0};
    if (errno != EAGAIN || ::poll(&wanted, 1, 1000) != 1) return false;
  }
  return true;
}

std::vector<std::string> own_addresses() {
  std::vector<std::string> addresses;
  for (const Interface& one : interfaces())
    if (!one.loopback) addresses.push_back(text_of(one.address));
  return addresses;
}

std::string own_address_in(const std::string& network) {
  const std::optional<Subnet> subnet = parse_subnet(network);
  for (const Interface& one : interfaces())
    if (subnet ? subnet->holds(one.address) : one.name == network) return text_of(one.address);
  fail_io("{} has no IPv4 address in network {}", own_host_name(), network);
}

std::string own_host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

int free_port() {
  const int socket = listen_on_free_port(true);
  const int port = port_of(socket);
  ::close(socket);
  return port;
}

}  // namespace isoflop
