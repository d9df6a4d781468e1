// The emulator itself: it must find the races and the barriers that it is there to find.
#include "tests/cuda/emulator.hpp"

#include "cuda/rows.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace isoflop::test {
namespace {

struct Reverse {
  int* data;
  bool barrier;

  template <class Thread>
  void operator()(Thread& t) const {
    int* shared = reinterpret_cast<int*>(t.shared());
    shared[t.thread()] = data[t.thread()];
    if (barrier) t.sync();
    data[t.thread()] = shared[t.threads() - 1 - t.thread()];
  }
};

std::vector<int> reversed(Turns turns, bool barrier) {
  std::vector<int> data(64);
  std::iota(data.begin(), data.end(), 0);
  emulate({1, 64, 64 * sizeof(int)}, turns, Reverse{data.data(), barrier});
  return data;
}

TEST(Emulator, ShowsAMissingBarrier) {
  std::vector<int> want(64);
  std::iota(want.rbegin(), want.rend(), 0);
  EXPECT_EQ(reversed(Turns::ascending, true), want);
  EXPECT_EQ(reversed(Turns::descending, true), want);
  EXPECT_NE(reversed(Turns::ascending, false), reversed(Turns::descending, false));
}

struct HalfWaits {
  template <class Thread>
  void operator()(Thread& t) const {
    if (t.thread() < 16) t.shuffle_xor(1, 1);
    if (t.thread() >= 16) t.sync();
  }
};

TEST(Emulator, RefusesABarrierThatNotAllReach) {
  EXPECT_THROW(emulate({1, 32, 0}, Turns::ascending, HalfWaits{}), std::logic_error);
}

struct Sums {
  double* out;
  template <class Thread>
  void operator()(Thread& t) const {
    const double sum = gpu::block_sum(t, static_cast<double>(t.thread() + t.block()),
                                      reinterpret_cast<double*>(t.shared()));
    if (t.thread() == 0) out[t.block()] = sum;
  }
};

TEST(Emulator, SumsOverABlock) {
  double sums[2] = {};
  emulate({2, 96, 3 * sizeof(double)}, Turns::descending, Sums{sums});
  EXPECT_EQ(sums[0], 95 * 96 / 2);
  EXPECT_EQ(sums[1], 95 * 96 / 2 + 96);
}

}  // namespace
}  // namespace isoflop::test
