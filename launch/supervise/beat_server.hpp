// The supervisor's ear: accepts ranks and asked hosts, reads their lines, passes orders on. One
// thread, no waiting: whoever owns it polls. Lines come from the network: bounded, and nothing
// counts before the launch's key was given.
#pragma once
#include "launch/supervise/beat.hpp"

#include <poll.h>

#include <functional>
#include <list>
#include <string>
#include <vector>

namespace isoflop {

class BeatServer {
 public:
  struct Handlers {
    std::function<void(const Hello&)> hello = [](const Hello&) {};
    std::function<void(int rank, const Beat&)> beat = [](int, const Beat&) {};
    std::function<void(int rank, const End&)> end = [](int, const End&) {};
    std::function<void(int rank)> gone = [](int) {};  // its connection ended
    // `here`: our address that it came to.
    std::function<void(const Hello&, const std::string& here)> probe = [](const Hello&,
                                                                          const std::string&) {};
  };

  /// Listens on a free port: of the loopback, or of all interfaces.
  BeatServer(std::string key, bool everywhere);
  ~BeatServer();
  BeatServer(const BeatServer&) = delete;
  BeatServer& operator=(const BeatServer&) = delete;

  int port() const { return port_; }
  /// Ranks of another attempt are turned away.
  void expect(int attempt, Handlers handlers);

  void add_to(std::vector<pollfd>& wanted) const;
  /// Takes what has arrived.
  void serve();
  /// "stop" or "stacks", to every rank that is connected.
  void order(const char* what);
  /// Closes the connections of ranks, which end by that.
  void hang_up();
  size_t connected() const { return peers_.size(); }

 private:
  struct Peer {
    int socket = -1;
    int rank = -1;
    bool known = false;
    std::string pending;
  };
  /// False when the peer is to be dropped.
  bool read(Peer& peer);
  bool take(Peer& peer, const std::string& line);

  std::string key_;
  int attempt_ = 0;
  Handlers handlers_;
  int socket_;
  int port_;
  std::list<Peer> peers_;
};

}  // namespace isoflop
