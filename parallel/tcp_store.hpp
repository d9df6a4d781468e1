// TcpStore: how ranks without MPI find each other. The first rank keeps short texts under names;
// everyone puts and waits. Enough to pass on a group's id before NCCL takes over, and to say who
// did not come. One connection a rank; a thread of the first rank serves them.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// Largest text and name that are taken.
inline constexpr uint32_t kStoreMostBytes = 1 << 20;

class TcpStoreServer {
 public:
  /// Listens on an IPv4 or IPv6 address, or on every one of this host; port 0: a free one. IoError
  /// when the port is in use.
  explicit TcpStoreServer(uint16_t port, const std::string& address = "");
  ~TcpStoreServer();
  TcpStoreServer(const TcpStoreServer&) = delete;
  TcpStoreServer& operator=(const TcpStoreServer&) = delete;

  uint16_t port() const { return port_; }

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
  uint16_t port_ = 0;
};

class TcpStore {
 public:
  /// Tries until the server is there. IoError, with the address, when it is not within `patience`,
  /// which also bounds every wait below. `rank` of `size` is for messages and for gather.
  TcpStore(const std::string& host,
           uint16_t port,
           int rank,
           int size,
           std::chrono::milliseconds patience);
  ~TcpStore();
  TcpStore(const TcpStore&) = delete;
  TcpStore& operator=(const TcpStore&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  /// The address at which this host's way to the first rank begins.
  std::string own_host() const;

  void set(const std::string& name, const std::string& text);
  /// Waits for it. IoError names what is missing and where it was looked for.
  std::string get(const std::string& name);
  /// Collective; `name` is used once. Every rank's text, in order. IoError names the first rank
  /// that did not come.
  std::vector<std::string> gather(const std::string& name, const std::string& text);
  /// Collective. The first rank's text, at every rank.
  std::string broadcast(const std::string& name, const std::string& text);

 private:
  std::string request(char what, const std::string& name, const std::string& text);

  std::string where_;
  int rank_, size_;
  std::chrono::milliseconds patience_;
  int socket_ = -1;
};

}  // namespace isoflop
