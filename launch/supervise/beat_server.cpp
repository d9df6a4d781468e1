#include "launch/supervise/beat_server.hpp"

#include "launch/supervise/sockets.hpp"
#include "parallel/tcp_sockets.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace isoflop {

namespace {

constexpr size_t kLongestLine = 64 << 10;

}  // namespace

BeatServer::BeatServer(std::string key, bool everywhere)
    : key_(std::move(key)), socket_(listen_on_free_port(everywhere)), port_(port_of(socket_)) {}

BeatServer::~BeatServer() {
  hang_up();
  ::close(socket_);
}

void BeatServer::expect(int attempt, Handlers handlers) {
  attempt_ = attempt;
  handlers_ = std::move(handlers);
}

void BeatServer::add_to(std::vector<pollfd>& wanted) const {
  wanted.push_back({socket_, POLLIN, 0});
  for (const Peer& peer : peers_) wanted.push_back({peer.socket, POLLIN, 0});
}

void BeatServer::serve() {
  for (int socket;
       (socket = ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;)
    peers_.push_back({socket, -1, false, {}});
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    if (read(*peer)) {
      ++peer;
      continue;
    }
    const int rank = peer->rank;
    ::close(peer->socket);
    peer = peers_.erase(peer);
    if (rank >= 0) handlers_.gone(rank);
  }
}

bool BeatServer::read(Peer& peer) {
  char chunk[8192];
  bool open = true;
  while (open) {
    const ssize_t got = ::recv(peer.socket, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) break;
    if (got <= 0) {
      open = false;
      break;
    }
    peer.pending.append(chunk, static_cast<size_t>(got));
    if (peer.pending.size() > kLongestLine) break;
  }
  for (size_t end; (end = peer.pending.find('\n')) != std::string::npos;) {
    const std::string line = peer.pending.substr(0, end);
    peer.pending.erase(0, end + 1);
    if (!take(peer, line)) return false;
  }
  return open && peer.pending.size() <= kLongestLine;
}

bool BeatServer::take(Peer& peer, const std::string& line) {
  const RankLine parsed = parse_rank_line(line);
  if (parsed.hello) {
    if (parsed.hello->key != key_ || parsed.hello->attempt != attempt_) return false;
    peer.known = true;
    if (parsed.hello->probe >= 0) {
      handlers_.probe(*parsed.hello, own_address(peer.socket).host);
    } else if (parsed.hello->rank >= 0) {
      peer.rank = parsed.hello->rank;
      handlers_.hello(*parsed.hello);
    }
  }
  if (!peer.known) return false;
  if (parsed.beat && peer.rank >= 0) handlers_.beat(peer.rank, *parsed.beat);
  if (parsed.end && peer.rank >= 0) handlers_.end(peer.rank, *parsed.end);
  constexpr std::string_view kAnswer = "{\"ok\": true}\n";
  // A few bytes into an empty buffer; who does not take them is found out by silence.
  [[maybe_unused]] const ssize_t ignored =
      ::send(peer.socket, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return true;
}

void BeatServer::order(const char* what) {
  const std::string line = std::string("{\"do\": \"") + what + "\"}\n";
  for (const Peer& peer : peers_) {
    [[maybe_unused]] const ssize_t ignored =
        ::send(peer.socket, line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

void BeatServer::hang_up() {
  for (const Peer& peer : peers_) ::close(peer.socket);
  peers_.clear();
}

}  // namespace isoflop
