// Pulse: what this rank is doing right now, for whoever watches it from outside while it may hang
// (launch/supervise). The thread that drives the run writes, another one reads; neither waits for
// the network. Costs a few uncontended locks a step and allocates nothing.
#pragma once
#include <array>
#include <cstdint>
#include <mutex>

namespace isoflop {

enum class Phase : int { startup, data, restore, step, save, eval };
constexpr int kPhases = 6;
const char* name_of(Phase phase);

struct PulseReading {
  Phase phase = Phase::startup;
  double phase_seconds = 0;           // since it began
  int64_t step = 0;                   // being taken, or the last one
  uint64_t messages = 0;              // collectives and exchanges begun by the watched thread
  const char* last_message = "none";  // the kind of the newest of them
  double wait_seconds = 0;            // that the thread has sat in wait(); 0: it is not waiting
  // Since the reading before:
  int64_t steps = 0;                      // finished
  double work_seconds = 0;                // of these steps, without waiting for other ranks
  std::array<double, kPhases> longest{};  // finished stay in each phase; 0: none
};

class Pulse {
 public:
  /// Only what this thread does counts from now on: the run's main thread.
  static void watch_this_thread();

  void enter(Phase phase);
  void begin_step(int64_t step);
  void end_step();
  /// A collective or an exchange begins; `kind` is a literal. Ignored on other threads.
  void communicate(const char* kind);
  void begin_wait();
  void end_wait();

  Phase phase() const;
  /// What happened since the last reading starts anew.
  PulseReading take();

 private:
  mutable std::mutex mutex_;
  PulseReading now_;
  double phase_began_ = 0, wait_began_ = 0, step_began_ = 0, waited_in_step_ = 0;
};

/// The process's own.
Pulse& pulse();

/// In a phase for a while, then back in the one before.
class InPhase {
 public:
  explicit InPhase(Phase phase) : before_(pulse().phase()) { pulse().enter(phase); }
  ~InPhase() { pulse().enter(before_); }
  InPhase(const InPhase&) = delete;
  InPhase& operator=(const InPhase&) = delete;

 private:
  Phase before_;
};

class InWait {
 public:
  InWait() { pulse().begin_wait(); }
  ~InWait() { pulse().end_wait(); }
  InWait(const InWait&) = delete;
  InWait& operator=(const InWait&) = delete;
};

}  // namespace isoflop
