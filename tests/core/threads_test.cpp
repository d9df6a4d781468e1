#include "core/threads.hpp"

#include "core/error.hpp"
#include "tests/support/under_sanitizer.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <numeric>
#include <set>
#include <stdexcept>
#include <vector>

namespace isoflop {
namespace {

class ThreadTeamOf : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Threads, ThreadTeamOf, ::testing::Values(1, 2, 3, 4));

TEST_P(ThreadTeamOf, RunsEveryTileExactlyOnce) {
  ThreadTeam team(GetParam());
  ASSERT_EQ(team.size(), GetParam());
  for (const int64_t tiles : {0, 1, 2, 3, 4, 5, 63, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(tiles));
    std::atomic<int> strangers{0};
    team.run(tiles, [&](int64_t tile, int thread) {
      ++runs[static_cast<size_t>(tile)];
      if (thread < 0 || thread >= GetParam()) ++strangers;
    });
    for (const auto& count : runs) EXPECT_EQ(count, 1);
    EXPECT_EQ(strangers, 0);
  }
}

// What a tile writes is seen by the caller and by the next job's tiles without any atomics of ours.
TEST_P(ThreadTeamOf, ThousandsOfJobsInARow) {
  ThreadTeam team(GetParam());
  std::vector<int64_t> values(17, 0);
  constexpr int64_t kJobs = 5000;
  for (int64_t job = 0; job < kJobs; ++job) {
    const int64_t tiles = job % 18;
    team.run(tiles, [&](int64_t tile, int) { ++values[static_cast<size_t>(tile)]; });
  }
  for (int64_t i = 0; i < 17; ++i) {
    int64_t want = 0;
    for (int64_t job = 0; job < kJobs; ++job) want += i < job % 18;
    EXPECT_EQ(values[static_cast<size_t>(i)], want);
  }
}

TEST_P(ThreadTeamOf, AThreadNumberIsHeldByOneThread) {
  ThreadTeam team(GetParam());
  std::vector<std::atomic<int>> inside(static_cast<size_t>(GetParam()));
  std::atomic<bool> shared{false};
  team.run(2000, [&](int64_t, int thread) {
    auto& mine = inside[static_cast<size_t>(thread)];
    if (mine.fetch_add(1) != 0) shared = true;
    mine.fetch_sub(1);
  });
  EXPECT_FALSE(shared);
}

TEST_P(ThreadTeamOf, RethrowsAndGoesOn) {
  ThreadTeam team(GetParam());
  for (int64_t bad = 0; bad < 50; ++bad) {
    try {
      team.run(50, [&](int64_t tile, int) {
        if (tile == bad) throw std::runtime_error(std::to_string(tile));
      });
      FAIL() << "no exception";
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), std::to_string(bad));
    }
    std::atomic<int64_t> sum{0};
    team.run(10, [&](int64_t tile, int) { sum += tile; });
    EXPECT_EQ(sum, 45);
  }
}

TEST_P(ThreadTeamOf, EveryTileThrowing) {
  ThreadTeam team(GetParam());
  for (int i = 0; i < 200; ++i)
    EXPECT_THROW(team.run(64, [](int64_t, int) { throw std::runtime_error("x"); }),
                 std::runtime_error);
}

TEST_P(ThreadTeamOf, StartsEachThreadOnce) {
  std::mutex mutex;
  std::multiset<std::thread::id> started;
  {
    ThreadTeam team(GetParam(), [&] {
      const std::lock_guard lock(mutex);
      started.insert(std::this_thread::get_id());
    });
  }
  EXPECT_EQ(started.size(), static_cast<size_t>(GetParam()));
  EXPECT_EQ(std::set<std::thread::id>(started.begin(), started.end()).size(), started.size());
  EXPECT_EQ(started.count(std::this_thread::get_id()), 1u);
}

TEST_P(ThreadTeamOf, ComesAndGoes) {
  for (int i = 0; i < 200; ++i) {
    ThreadTeam team(GetParam());
    if (i % 2) team.run(3, [](int64_t, int) {});
  }
}

TEST_P(ThreadTeamOf, SleepsAndWakes) {
  ThreadTeam team(GetParam());
  std::atomic<int> runs{0};
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // beyond the spinning
    team.run(8, [&](int64_t, int) { ++runs; });
  }
  EXPECT_EQ(runs, 40);
}

TEST(ThreadTeam, ZeroMeansAllUsableCores) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_EQ(ThreadTeam(0).size(), usable_cores());
}

#if !defined(ISOFLOP_UNDER_ASAN) && !defined(ISOFLOP_UNDER_TSAN)  // they reserve terabytes
TEST(ThreadTeam, SaysWhenThreadsAreRefused) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{1u << 30, 1u << 30};  // room for the stacks of some threads, not of 2000
    ::setrlimit(RLIMIT_AS, &limit);
    try {
      ThreadTeam team(2000);
    } catch (const IoError&) {
      ::_exit(42);
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 42);
}
#endif

TEST(ThreadTeam, TakesWorkThatCannotBeCopied) {
  ThreadTeam team(2);
  auto owner = std::make_unique<std::atomic<int>>(0);
  team.run(5, [owner = std::move(owner)](int64_t, int) { ++*owner; });
  int plain = 0;
  const auto reference = [&plain](int64_t, int) { ++plain; };
  team.run(1, reference);
  EXPECT_EQ(plain, 1);
}

}  // namespace
}  // namespace isoflop
