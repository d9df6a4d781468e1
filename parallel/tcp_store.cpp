#include "parallel/tcp_store.hpp"

#include "core/error.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <thread>

namespace isoflop {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A request: what ('s'et, 'g'et), bytes of the name, bytes of the text, both. An answer, to get
// alone and once the name is there: bytes of the text, the text. Numbers are little-endian.
constexpr size_t kHead = 1 + 4 + 4;

void put_u32(std::string& out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}
uint32_t get_u32(const char* at) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i)
    value |= static_cast<uint32_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  return value;
}

int milliseconds_until(Clock::time_point end) {
  const auto left = std::chrono::duration_cast<milliseconds>(end - Clock::now()).count();
  return static_cast<int>(std::max<int64_t>(0, left));
}

/// False when the time is over or the other side is gone.
bool transfer(int socket, bool sends, void* data, size_t bytes, Clock::time_point end) {
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

/// A connected socket, or -1.
int try_connect(const std::string& host, uint16_t port) {
  addrinfo hints = {}, *list = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0) return -1;
  int connected = -1;
  for (const addrinfo* each = list; each && connected < 0; each = each->ai_next) {
    const int one = ::socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, 0);
    if (one >= 0 && ::connect(one, each->ai_addr, each->ai_addrlen) == 0)
      connected = one;
    else if (one >= 0)
      ::close(one);
  }
  ::freeaddrinfo(list);
  return connected;
}

}  // namespace

class TcpStoreServer::Impl {
 public:
  explicit Impl(uint16_t port) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);
    address.sin_port = htons(port);
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
        ::listen(listener_, 1024) != 0) {
      const std::string why = std::strerror(errno);
      ::close(listener_);
      fail_io("port {} cannot be listened on: {}; choose another MASTER_PORT, or 0 for a free one",
              port, why);
    }
    stop_ = ::eventfd(0, EFD_CLOEXEC);
    thread_ = std::thread([this] { serve(); });
  }
  ~Impl() {
    const uint64_t one = 1;
    (void)!::write(stop_, &one, sizeof(one));
    thread_.join();
    for (const Peer& peer : peers_) ::close(peer.socket);
    ::close(listener_);
    ::close(stop_);
  }
  uint16_t port() const {
    sockaddr_in address = {};
    socklen_t bytes = sizeof(address);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &bytes);
    return ntohs(address.sin_port);
  }

 private:
  struct Peer {
    int socket;
    std::string in, waits_for;
    bool waiting = false;
  };

  void serve() {
    while (true) {
      std::vector<pollfd> all = {{stop_, POLLIN, 0}, {listener_, POLLIN, 0}};
      for (const Peer& peer : peers_) all.push_back({peer.socket, POLLIN, 0});
      if (::poll(all.data(), all.size(), -1) < 0 && errno != EINTR) return;
      if (all[0].revents) return;
      for (size_t i = peers_.size(); i-- > 0;)
        if (all[i + 2].revents && !(read(peers_[i]) && answer(peers_[i]))) {
          ::close(peers_[i].socket);
          peers_.erase(peers_.begin() + static_cast<std::ptrdiff_t>(i));
        }
      if (all[1].revents) {
        const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0) continue;
        no_delay(socket);
        peers_.push_back({socket, "", "", false});
      }
    }
  }

  /// False when the connection is over.
  static bool read(Peer& peer) {
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(peer.socket, buffer.data(), buffer.size(), 0);
    if (got <= 0) return false;
    peer.in.append(buffer.data(), static_cast<size_t>(got));
    return true;
  }

  /// Whole requests that have come in. False: that is none of ours.
  bool answer(Peer& peer) {
    while (peer.in.size() >= kHead) {
      const char what = peer.in[0];
      const uint32_t name_bytes = get_u32(&peer.in[1]), text_bytes = get_u32(&peer.in[5]);
      if ((what != 's' && what != 'g') || peer.waiting) return false;
      if (name_bytes > kStoreMostBytes || text_bytes > kStoreMostBytes) return false;
      const size_t bytes = kHead + name_bytes + text_bytes;
      if (peer.in.size() < bytes) return true;
      const std::string name = peer.in.substr(kHead, name_bytes);
      if (what == 's') {
        texts_[name] = peer.in.substr(kHead + name_bytes, text_bytes);
        peer.in.erase(0, bytes);
        tell_who_waits(name);
      } else {
        peer.in.erase(0, bytes);
        peer.waits_for = name;
        peer.waiting = true;
        if (texts_.count(name)) tell(peer);
      }
    }
    return true;
  }

  void tell_who_waits(const std::string& name) {
    for (Peer& peer : peers_)
      if (peer.waiting && peer.waits_for == name) tell(peer);
  }

  void tell(Peer& peer) {
    const std::string& text = texts_[peer.waits_for];
    std::string out;
    put_u32(out, static_cast<uint32_t>(text.size()));
    out += text;
    peer.waiting = false;
    transfer(peer.socket, true, out.data(), out.size(), Clock::now() + std::chrono::seconds(5));
  }

  int listener_ = -1, stop_ = -1;
  std::vector<Peer> peers_;
  std::map<std::string, std::string> texts_;
  std::thread thread_;
};

TcpStoreServer::TcpStoreServer(uint16_t port)
    : impl_(std::make_unique<Impl>(port)), port_(impl_->port()) {}
TcpStoreServer::~TcpStoreServer() = default;

TcpStore::TcpStore(
    const std::string& host, uint16_t port, int rank, int size, milliseconds patience)
    : where_(fmt::format("{}:{}", host, port)), rank_(rank), size_(size), patience_(patience) {
  const Clock::time_point end = Clock::now() + patience;
  while ((socket_ = try_connect(host, port)) < 0) {
    if (Clock::now() >= end)
      fail_io(
          "rank {} of {} found nobody at {} within {} ms; is the first rank started, and do "
          "MASTER_ADDR and MASTER_PORT name its host?",
          rank, size, where_, patience.count());
    std::this_thread::sleep_for(milliseconds(20));
  }
  no_delay(socket_);
}

TcpStore::~TcpStore() {
  ::close(socket_);
}

std::string TcpStore::request(char what, const std::string& name, const std::string& text) {
  ISOFLOP_CHECK(name.size() <= kStoreMostBytes && text.size() <= kStoreMostBytes,
                "{} bytes are too many for the store", text.size());
  const Clock::time_point end = Clock::now() + patience_;
  const auto fail = [&](const char* did) {
    fail_io("rank {} of {} waited {} ms to {} '{}' at {}", rank_, size_, patience_.count(), did,
            name, where_);
  };
  std::string out(1, what);
  put_u32(out, static_cast<uint32_t>(name.size()));
  put_u32(out, static_cast<uint32_t>(text.size()));
  out += name + text;
  if (!transfer(socket_, true, out.data(), out.size(), end)) fail("put");
  if (what == 's') return "";
  std::array<char, 4> head;
  if (!transfer(socket_, false, head.data(), head.size(), end)) fail("get");
  const uint32_t bytes = get_u32(head.data());
  if (bytes > kStoreMostBytes) fail("get");
  std::string in(bytes, '\0');
  if (!transfer(socket_, false, in.data(), in.size(), end)) fail("get");
  return in;
}

void TcpStore::set(const std::string& name, const std::string& text) {
  request('s', name, text);
}

std::string TcpStore::get(const std::string& name) {
  return request('g', name, "");
}

std::vector<std::string> TcpStore::gather(const std::string& name, const std::string& text) {
  set(fmt::format("{}/{}", name, rank_), text);
  std::vector<std::string> all;
  for (int rank = 0; rank < size_; ++rank) {
    try {
      all.push_back(get(fmt::format("{}/{}", name, rank)));
    } catch (const IoError& error) {
      fail_io("rank {} of {} did not come: {}", rank, size_, error.what());
    }
  }
  return all;
}

std::string TcpStore::broadcast(const std::string& name, const std::string& text) {
  if (rank_ == 0) set(name, text);
  return get(name);
}

}  // namespace isoflop
