// Ranks without MPI that do not find each other, or lose each other. What they do otherwise is in
// communicator_test.cpp, which CTest starts on them as well.
#include "parallel/tcp_world.hpp"

#include "core/error.hpp"
#include "parallel/tcp_sockets.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

namespace isoflop {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr const char* kHere = "127.0.0.1";

uint16_t free_port() {
  return TcpStoreServer(0, kHere).port();
}

/// Text of the error that `work` ends in, behind its exit code; empty without one.
std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    return fmt::format("{}: {}", static_cast<int>(error.code()), error.what());
  }
  return "";
}

/// A process that ends with the code that `work` returns.
class Rank {
 public:
  explicit Rank(const std::function<int()>& work) : pid_(::fork()) {
    if (pid_ != 0) return;
    ::alarm(60);
    int code = 99;
    const std::string error = error_of([&] { code = work(); });
    if (!error.empty()) std::fprintf(stderr, "%s\n", error.c_str());
    ::_exit(code);
  }
  /// Its exit code, or -signal.
  int wait() const {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }
  void kill() const { ::kill(pid_, SIGKILL); }

 private:
  pid_t pid_;
};

TcpPlace place(int rank, int size, uint16_t port) {
  return {rank, size, kHere, port};
}

void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(TcpWorld, OneRankIsAWorld) {
  const auto world = make_tcp_world(place(0, 1, free_port()));
  EXPECT_EQ(world->ranks().size(), 1);
  EXPECT_EQ(world->ranks().max(3), 3);
  EXPECT_EQ(world->ranks_sharing_cores(), 1);
  EXPECT_TRUE(world->failed().everyone);
}

bool has_ipv6() {
  const int socket = listen_at("::1", 0);
  return socket >= 0 && ::close(socket) == 0;
}

TEST(TcpWorld, MeetsByNamesAndByIpv6) {
  if (!has_ipv6()) GTEST_SKIP() << "skipped: no IPv6 here";
  for (const char* host : {"::1", "localhost"}) {
    const uint16_t port = free_port();
    const auto join = [&](int rank) {
      return make_tcp_world({rank, 3, host, port})->ranks().max(rank) == 2 ? 0 : 1;
    };
    const Rank second([&] { return join(1); }), third([&] { return join(2); });
    EXPECT_EQ(error_of([&] { EXPECT_EQ(join(0), 0); }), "") << host;
    EXPECT_EQ(second.wait() + third.wait(), 0) << host;
  }
  expect_contains(error_of([&] {
                    make_tcp_world({1, 2, "::1", free_port()}, milliseconds(100));
                  }),
                  "5: rank 1 of 2 found nobody at [::1]:");
}

TEST(TcpWorld, AllOfAHostIsBothKindsOfAddresses) {
  if (!has_ipv6()) GTEST_SKIP() << "skipped: no IPv6 here";
  const TcpStoreServer server(0);
  for (const char* host : {"::1", "127.0.0.1"})
    EXPECT_NO_THROW(TcpStore(host, server.port(), 0, 1, milliseconds(2000))) << host;
}

TEST(TcpWorld, SaysWhoDidNotCome) {
  const uint16_t port = free_port();
  expect_contains(error_of([&] { make_tcp_world(place(1, 2, port), milliseconds(100)); }),
                  "5: rank 1 of 2 found nobody at 127.0.0.1:");
  expect_contains(error_of([&] { make_tcp_world(place(0, 2, port), milliseconds(100)); }),
                  "5: rank 1 of 2 did not come");
}

TEST(TcpWorld, RanksThatDifferInHowManyTheyAreAllSaySo) {
  const uint16_t port = free_port();
  const auto refused = [&](int rank, int size) {
    const std::string error = error_of([&] { make_tcp_world(place(rank, size, port)); });
    return error.rfind("2: WORLD_SIZE is ", 0) == 0 ? 2 : 1;
  };
  const Rank second([&] { return refused(1, 3); });
  EXPECT_EQ(refused(0, 2), 2);
  EXPECT_EQ(second.wait(), 2);
}

// One that knows no key takes no rank's place, and one that says nothing holds nobody up.
TEST(TcpWorld, StrangersAreHungUpOn) {
  const uint16_t port = free_port();
  const auto join = [&](int rank) {
    return make_tcp_world(place(rank, 2, port), seconds(50))->ranks().max(rank) == 1 ? 0 : 1;
  };
  const Rank first([&] { return join(0); });
  std::string text;
  {
    TcpStore store(kHere, port, 1, 2, seconds(50));
    text = store.get("rank/0");
  }
  std::istringstream parts(text);
  int size = 0;
  uint16_t listens = 0;
  parts >> size >> listens;
  const auto end = std::chrono::steady_clock::now() + seconds(20);
  const int silent = connect_until(kHere, listens, end), liar = connect_until(kHere, listens, end);
  std::string hello(32, '0');
  hello += std::string("\1\0\0\0\0\0\0\0", 8);  // from rank 1 to rank 0
  ASSERT_TRUE(transfer(liar, true, hello.data(), hello.size(), end));
  EXPECT_EQ(join(1), 0);
  char byte = 0;
  EXPECT_FALSE(transfer(liar, false, &byte, 1, end));
  EXPECT_LT(std::chrono::steady_clock::now(), end);
  EXPECT_EQ(first.wait(), 0);
  ::close(silent);
  ::close(liar);
}

TEST(TcpWorld, ARankThatDiesIsNamedByAllOthers) {
  const uint16_t port = free_port();
  const auto work = [&](int rank) {
    const auto world = make_tcp_world(place(rank, 3, port));
    std::vector<char> data(1 << 20);
    const std::string error = error_of([&] {
      world->ranks().barrier();  // whose last words may be lost with it
      if (rank == 2) ::raise(SIGKILL);
      world->ranks().broadcast(data.data(), data.size(), 2);
    });
    const FailureVote vote = world->failed();
    const bool named = error.rfind("5: rank 2 of 3 on ", 0) == 0;
    if (!named || vote.everyone || vote.lowest != (rank == 0)) return 1;
    if (rank == 0) world->abort(5);
    std::this_thread::sleep_for(seconds(30));
    return 2;
  };
  std::vector<Rank> ranks;
  for (int rank = 0; rank < 3; ++rank) ranks.emplace_back([&, rank] { return work(rank); });
  EXPECT_EQ(ranks[0].wait(), 5);
  EXPECT_EQ(ranks[1].wait(), 5);  // by the first one's word
  EXPECT_EQ(ranks[2].wait(), -SIGKILL);
}

TEST(TcpWorld, ARankThatFailsEndsThoseThatDoNotAndLeavesInOrderWithThoseThatDo) {
  for (const bool all : {false, true}) {
    const uint16_t port = free_port();
    const auto work = [&](int rank) {
      const auto world = make_tcp_world(place(rank, 2, port));
      if (rank == 0 && !all) world->ranks().barrier();  // for which nobody comes
      const FailureVote vote = world->failed();
      if (!vote.everyone) world->abort(7);
      return vote.lowest == (rank == 0) ? 3 : 1;
    };
    const Rank first([&] { return work(0); }), second([&] { return work(1); });
    EXPECT_EQ(first.wait(), all ? 3 : 7);
    EXPECT_EQ(second.wait(), all ? 3 : 7);
  }
}

// As one that has finished does while the others still write.
TEST(TcpWorld, WhoLeavesInOrderIsMissedOnlyWhenNeeded) {
  const uint16_t port = free_port();
  const Rank second([&] {
    const auto world = make_tcp_world(place(1, 2, port));
    std::vector<char> data(5 << 20, 'x');
    const Message to[] = {{0, data.data(), data.size()}};
    world->ranks().exchange(to, {});
    return 0;
  });
  const auto world = make_tcp_world(place(0, 2, port));
  std::vector<char> data(5 << 20);
  const Message from[] = {{1, data.data(), data.size()}};
  world->ranks().exchange({}, from);
  EXPECT_EQ(data, std::vector<char>(5 << 20, 'x'));
  EXPECT_EQ(second.wait(), 0);
  expect_contains(error_of([&] { world->ranks().barrier(); }), "5: rank 1 of 2 on ");
}

class TcpPlaceTest : public ::testing::Test {
 protected:
  void TearDown() override {
    for (const std::string& name : set_) ::unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    ::setenv(name.c_str(), value.c_str(), 1);
    set_.push_back(name);
  }

 private:
  std::vector<std::string> set_;
};

TEST_F(TcpPlaceTest, ComesFromTorchrunsNames) {
  EXPECT_FALSE(tcp_place());
  set("RANK", "3");
  set("WORLD_SIZE", "8");
  set("MASTER_ADDR", "n1");
  EXPECT_FALSE(tcp_place());
  set("MASTER_PORT", "29500");
  EXPECT_EQ(tcp_place()->rank, 3);
  EXPECT_EQ(tcp_place()->size, 8);
  EXPECT_EQ(tcp_place()->host, "n1");
  EXPECT_EQ(tcp_place()->port, 29500);
  EXPECT_EQ(launched_ranks(), 8);
  set("RANK", "8");
  EXPECT_EQ(error_of(tcp_place), "2: RANK is \"8\", and should be a number from 0 to 7");
  set("WORLD_SIZE", "4x");
  expect_contains(error_of(tcp_place), "2: WORLD_SIZE is \"4x\"");
}

TEST_F(TcpPlaceTest, ComesFromAStepOfSlurmWithoutMpi) {
  set("SLURM_JOB_ID", "4711");
  set("SLURM_PROCID", "1");
  set("SLURM_NTASKS", "4");
  EXPECT_FALSE(tcp_place());  // of sbatch itself
  set("SLURM_STEP_ID", "0");
  set("SLURM_STEP_NUM_TASKS", "4");
  for (const auto& [nodes, first] : {std::pair("n1", "n1"),
                                     {"n1,n2", "n1"},
                                     {"n[03-05,9],m", "n03"},
                                     {"rack-2-n[7,9]", "rack-2-n7"}}) {
    set("SLURM_STEP_NODELIST", nodes);
    EXPECT_EQ(tcp_place()->host, first);
  }
  EXPECT_EQ(tcp_place()->rank, 1);
  EXPECT_EQ(tcp_place()->size, 4);
  const uint16_t port = tcp_place()->port;
  EXPECT_GE(port, 20000);
  set("SLURM_STEP_ID", "1");
  EXPECT_NE(tcp_place()->port, port);
  set("MASTER_ADDR", "n9");
  EXPECT_EQ(tcp_place()->host, "n9");
}

}  // namespace
}  // namespace isoflop
