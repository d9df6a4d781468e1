// A rank's side of supervision: one thread that reports what the rank is doing (parallel/pulse.hpp)
// to the `isoflop launch` that started it, and does what that asks.
#pragma once
#include "core/error.hpp"
#include "launch/supervise/beat.hpp"

#include <pthread.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace isoflop {

class Heartbeat {
 public:
  /// Connects at once; IoError when no address answers. Made on the run's main thread, which is the
  /// one that is asked to stop or to print its stack.
  explicit Heartbeat(const SupervisorAddress& supervisor);
  ~Heartbeat();
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;

  /// The code this process is going to exit with; `text` says why. Sent before it returns.
  void end(ExitCode code, const std::string& text);

 private:
  void beat();
  void obey(const std::string& line);

  SupervisorAddress supervisor_;
  int socket_ = -1;
  pthread_t main_;
  std::mutex sending_;
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

/// When this process was started by `isoflop launch`; null otherwise.
std::unique_ptr<Heartbeat> heartbeat_if_supervised();

/// Answers a supervisor that asks whether this host can take part: connects, says which program
/// lies here, how many cores there are, and where ranks elsewhere can meet one of this host: at its
/// address in `network`, or without one where it reaches the supervisor from. IoError when nobody
/// answers, or there is no address in that network.
void answer_probe(const SupervisorAddress& supervisor, int index, const std::string& network);

}  // namespace isoflop
