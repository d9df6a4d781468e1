// ThreadTeam: the only threads that compute. Work is cut into tiles by shape alone, threads merely
// pick tiles, so the bits of a result cannot depend on how many threads there are.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace isoflop {

class ThreadTeam {
 public:
  /// `threads` including the caller's; 0 = the number of usable cores. `on_start` runs once on
  /// every thread of the team, the caller's included (a library's per-thread settings); it must not
  /// throw. IoError when the system refuses that many threads.
  explicit ThreadTeam(int threads, std::function<void()> on_start = {});
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  /// Calls work(tile, thread) once for each tile in [0, tiles), thread in [0, size()), and returns
  /// when all are done. Allocates nothing. Called from one thread only and not from within work.
  /// The first exception is rethrown here after the others have stopped.
  template <class Work>
  void run(int64_t tiles, Work&& work) {
    using Callable = std::remove_reference_t<Work>;
    run_erased(
        tiles,
        [](void* callable, int64_t tile, int thread) {
          (*static_cast<Callable*>(callable))(tile, thread);
        },
        const_cast<void*>(static_cast<const void*>(&work)));
  }

 private:
  using Invoke = void (*)(void*, int64_t, int);
  void run_erased(int64_t tiles, Invoke invoke, void* callable);
  void pick_tiles(int thread);
  void worker(int thread, const std::function<void()>& on_start);
  void end();

  std::vector<std::thread> workers_;
  Invoke invoke_ = nullptr;
  void* callable_ = nullptr;
  int64_t tiles_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<uint32_t> generation_{0};  // bumped to start a job or to end the team
  static constexpr uint32_t kClosed = 1u << 31;
  std::atomic<uint32_t> gate_{kClosed};  // workers inside the job; closed once its tiles are taken
  std::atomic<bool> ending_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// Cores this process may use (its affinity mask, and the cgroup's quota where one is set).
int usable_cores();

}  // namespace isoflop
