#include "core/threads.hpp"

#include "core/error.hpp"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

namespace isoflop {

int usable_cores() {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof(set), &set) == 0
                  ? CPU_COUNT(&set)
                  : static_cast<int>(std::thread::hardware_concurrency());
  std::ifstream quota_file("/sys/fs/cgroup/cpu.max");  // "max 100000" or "200000 100000"
  std::string quota;
  double period = 0;
  if (quota_file >> quota >> period && quota != "max" && period > 0)
    cores = std::min(cores, static_cast<int>(std::stod(quota) / period + 0.5));
  return std::max(cores, 1);
}

ThreadTeam::ThreadTeam(int threads, std::function<void()> on_start) {
  if (threads <= 0) threads = usable_cores();
  if (on_start) on_start();
  // Workers inherit a mask that blocks all signals but those of their own faults: a handler must
  // not run on top of a kernel that may have pointed the stack register elsewhere
  // (launch/signals.cpp).
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP})
    sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  try {
    for (int thread = 1; thread < threads; ++thread)
      workers_.emplace_back([this, thread, on_start] { worker(thread, on_start); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  } catch (const std::system_error& e) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    const size_t started = workers_.size() + 1;
    end();
    fail_io("cannot start {} threads, only {} ({}); ask for fewer", threads, started, e.what());
  }
}

ThreadTeam::~ThreadTeam() {
  end();
}

void ThreadTeam::end() {
  ending_ = true;
  generation_.fetch_add(1);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::pick_tiles(int thread) {
  try {
    for (int64_t tile = next_.fetch_add(1); tile < tiles_; tile = next_.fetch_add(1))
      invoke_(callable_, tile, thread);
  } catch (...) {
    next_ = tiles_;
    const std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

static void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Ops follow each other within microseconds inside a step, so a waiting thread spins briefly, then
// yields (the cores may be shared), then sleeps.
template <class Ready>
static bool spin_until(Ready ready) {
  for (int i = 0; i < 2000; ++i) {
    if (ready()) return true;
    pause();
  }
  for (int i = 0; i < 50; ++i) {
    if (ready()) return true;
    std::this_thread::yield();
  }
  return false;
}

void ThreadTeam::worker(int thread, const std::function<void()>& on_start) {
  if (on_start) on_start();
  uint32_t seen = 0;
  while (true) {
    if (!spin_until([&] { return generation_.load() != seen; })) generation_.wait(seen);
    seen = generation_.load();
    if (ending_) return;
    // Enter the job unless its caller has closed it, all tiles being taken.
    uint32_t gate = gate_.load();
    while (!(gate & kClosed) && !gate_.compare_exchange_weak(gate, gate + 1)) {
    }
    if (gate & kClosed) continue;
    pick_tiles(thread);
    if (gate_.fetch_sub(1) == (kClosed | 1)) gate_.notify_one();
  }
}

void ThreadTeam::run_erased(int64_t tiles, Invoke invoke, void* callable) {
  invoke_ = invoke;
  callable_ = callable;
  tiles_ = tiles;
  next_ = 0;
  if (workers_.empty() || tiles <= 1) {
    pick_tiles(0);
  } else {
    gate_ = 0;
    generation_.fetch_add(1);
    generation_.notify_all();
    pick_tiles(0);
    // Every tile is taken now. Workers that never came (the cores may be shared) are not waited
    // for.
    gate_.fetch_or(kClosed);
    if (!spin_until([&] { return gate_.load() == kClosed; }))
      for (uint32_t gate = gate_.load(); gate != kClosed; gate = gate_.load()) gate_.wait(gate);
  }
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace isoflop
