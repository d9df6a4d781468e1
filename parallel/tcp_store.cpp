#include "parallel/tcp_store.hpp"

#include "core/error.hpp"
#include "parallel/tcp_sockets.hpp"

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

}  // namespace

class TcpStoreServer::Impl {
 public:
  explicit Impl(uint16_t port, const std::string& address) : listener_(listen_at(address, port)) {
    if (listener_ < 0)
      fail_io("port {} cannot be listened on: {}; choose another MASTER_PORT, or 0 for a free one",
              port, std::strerror(errno));
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
  uint16_t port() const { return own_address(listener_).port; }

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

  const int listener_;
  int stop_ = -1;
  std::vector<Peer> peers_;
  std::map<std::string, std::string> texts_;
  std::thread thread_;
};

TcpStoreServer::TcpStoreServer(uint16_t port, const std::string& address)
    : impl_(std::make_unique<Impl>(port, address)), port_(impl_->port()) {}
TcpStoreServer::~TcpStoreServer() = default;

TcpStore::TcpStore(
    const std::string& host, uint16_t port, int rank, int size, milliseconds patience)
    : where_(address_text(host, port)), rank_(rank), size_(size), patience_(patience) {
  const Clock::time_point end = Clock::now() + patience;
  while ((socket_ = connect_until(host, port, end)) < 0) {
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

std::string TcpStore::own_host() const {
  return own_address(socket_).host;
}

std::string TcpStore::request(char what, const std::string& name, const std::string& text) {
  ISOFLOP_CHECK(name.size() <= kStoreMostBytes && text.size() <= kStoreMostBytes,
                "{} bytes are too many for the store", text.size());
  const Clock::time_point end = Clock::now() + patience_;
  const auto fail = [&](const char* did) {
    if (Clock::now() < end)
      fail_io("rank {} of {} was to {} '{}' at {}, which hung up: the first rank has ended", rank_,
              size_, did, name, where_);
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
