// Runs a kernel of cuda/ on the host, block after block, each thread a fiber that gives way at the
// barriers a GPU has. What it shows: indices, barriers and arithmetic. What it cannot: speed, and
// instructions that behave otherwise than the manual says.
//
// Threads take turns in ascending or descending order; a kernel without races gives the same bits
// in both. Shared memory starts as NaN. A barrier that some threads never reach is an error.
#pragma once
#include "cuda/thread.hpp"

#include <ucontext.h>

#include <array>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

namespace isoflop::test {

enum class Turns { ascending, descending };

/// One block's threads. run() calls body(thread number) in a fiber for each.
class Fibers {
 public:
  void run(int threads, Turns turns, const std::function<void(int)>& body);

  /// Until every thread of `group` has called it as often.
  struct Barrier {
    int members = 0, arrived = 0;
    uint64_t generation = 0;
  };
  void wait(Barrier& barrier);
  int current() const { return current_; }

  Barrier block;
  std::vector<Barrier> warps;

 private:
  static void enter();
  void leave();

  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false;
  };
  std::vector<Fiber> fibers_;
  ucontext_t scheduler_;
  const std::function<void(int)>* body_ = nullptr;
  static constexpr int kStuck = -1;
  Turns turns_ = Turns::ascending;
  int turn_ = 0, current_ = 0;
  int left_ = 0;                                 // threads that have not ended, or kStuck
  uint64_t progress_ = 0, progress_before_ = 0;  // barriers passed and threads ended
};

/// What a kernel sees as its thread (cuda/thread.hpp).
class EmulatedThread {
 public:
  struct Block {
    Fibers& fibers;
    int64_t number;
    int threads;
    std::vector<gpu::Words> shared;
    // What the lanes of a warp show each other; two sets, so that a fast lane cannot overwrite what
    // a slow one still reads.
    std::vector<std::array<std::array<uint64_t, gpu::kWarp * 3>, 2>> shown;
  };
  EmulatedThread(Block& block, int thread) : block_(block), thread_(thread) {}

  int64_t block() const { return block_.number; }
  int thread() const { return thread_; }
  int threads() const { return block_.threads; }
  std::byte* shared() const { return reinterpret_cast<std::byte*>(block_.shared.data()); }
  void sync() { block_.fibers.wait(block_.fibers.block); }

  template <class T>
  T shuffle_xor(T value, int mask) {
    static_assert(sizeof(T) <= 8);
    uint64_t word = 0;
    std::memcpy(&word, &value, sizeof(T));
    const uint64_t* shown = show({word, 0, 0});
    T other;
    std::memcpy(&other, &shown[3 * (lane() ^ mask)], sizeof(T));
    return other;
  }
  void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
  void ldmatrix(uint32_t (&r)[4], const bf16* row) { load_matrices(r, row, false); }
  void ldmatrix_transposed(uint32_t (&r)[4], const bf16* row) { load_matrices(r, row, true); }

 private:
  int lane() const { return thread_ % gpu::kWarp; }
  /// Three words a lane, shown to the warp; all lanes' words come back.
  const uint64_t* show(std::array<uint64_t, 3> words);
  void load_matrices(uint32_t (&r)[4], const bf16* row, bool transposed);

  Block& block_;
  int thread_;
  int turn_ = 0;
};

template <class Kernel>
void emulate(const gpu::Launch& launch, Turns turns, const Kernel& kernel) {
  static thread_local Fibers fibers;  // its stacks serve every launch
  EmulatedThread::Block block{fibers, 0, launch.threads, {}, {}};
  block.shown.resize(static_cast<size_t>((launch.threads + gpu::kWarp - 1) / gpu::kWarp));
  for (int64_t number = 0; number < launch.blocks; ++number) {
    block.number = number;
    block.shared.assign((launch.shared + 15) / 16, {{~0u, ~0u, ~0u, ~0u}});
    fibers.run(launch.threads, turns, [&](int i) {
      EmulatedThread thread(block, i);
      kernel(thread);
    });
  }
}

}  // namespace isoflop::test
