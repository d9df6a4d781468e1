#include "parallel/pulse.hpp"

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

thread_local bool watched = false;

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace

const char* name_of(Phase phase) {
  constexpr std::array<const char*, kPhases> kNames = {"startup", "data", "restore",
                                                       "step",    "save", "eval"};
  return kNames[static_cast<size_t>(phase)];
}

void Pulse::watch_this_thread() {
  watched = true;
  pulse().enter(Phase::startup);
}

void Pulse::enter(Phase phase) {
  if (!watched) return;
  const double now = seconds_now();
  const std::lock_guard lock(mutex_);
  if (phase_began_ > 0) {
    double& longest = now_.longest[static_cast<size_t>(now_.phase)];
    longest = std::max(longest, now - phase_began_);
  }
  now_.phase = phase;
  phase_began_ = now;
}

void Pulse::begin_step(int64_t step) {
  if (!watched) return;
  enter(Phase::step);
  const std::lock_guard lock(mutex_);
  now_.step = step;
  step_began_ = phase_began_;
  waited_in_step_ = 0;
}

void Pulse::end_step() {
  if (!watched) return;
  const std::lock_guard lock(mutex_);
  ++now_.steps;
  now_.work_seconds += seconds_now() - step_began_ - waited_in_step_;
}

void Pulse::communicate(const char* kind) {
  if (!watched) return;
  const std::lock_guard lock(mutex_);
  ++now_.messages;
  now_.last_message = kind;
}

void Pulse::begin_wait() {
  if (!watched) return;
  const std::lock_guard lock(mutex_);
  wait_began_ = seconds_now();
}

void Pulse::end_wait() {
  if (!watched) return;
  const std::lock_guard lock(mutex_);
  waited_in_step_ += seconds_now() - wait_began_;
  wait_began_ = 0;
}

Phase Pulse::phase() const {
  const std::lock_guard lock(mutex_);
  return now_.phase;
}

PulseReading Pulse::take() {
  const double now = seconds_now();
  const std::lock_guard lock(mutex_);
  PulseReading reading = now_;
  reading.phase_seconds = phase_began_ > 0 ? now - phase_began_ : 0;
  reading.wait_seconds = wait_began_ > 0 ? now - wait_began_ : 0;
  now_.steps = 0;
  now_.work_seconds = 0;
  now_.longest.fill(0);
  return reading;
}

Pulse& pulse() {
  static Pulse only;
  return only;
}

}  // namespace isoflop
