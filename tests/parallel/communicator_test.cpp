// What every communicator must do, whatever it runs on. Alone it is about one rank; CTest also
// starts this program under mpirun with 2 to 8 ranks, and as many without MPI
// (tests/CMakeLists.txt), and then each rank checks what it got. With ISOFLOP_TEST_NCCL in the
// environment all of it is about NCCL, one device for each rank, whose id goes round by MPI;
// without devices it says so and skips.
#include "parallel/communicator.hpp"

#include "core/rng.hpp"
#include "cuda/backend.hpp"
#include "parallel/grid.hpp"
#include "parallel/nccl.hpp"
#include "parallel/plain_sum.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <numeric>
#include <thread>

namespace isoflop {
namespace {

World& world() {
  static const std::unique_ptr<World> world = make_world();
  return *world;
}

bool on_nccl() {
  return std::getenv("ISOFLOP_TEST_NCCL") != nullptr;
}

Communicator& ranks() {
  if (!on_nccl()) return world().ranks();
  static const std::unique_ptr<Communicator> group = [] {
    Communicator& all = world().ranks();
    gpu::use_device(all.rank());
    const std::string id = all.broadcast_text(all.is_root() ? nccl_group_id() : "", 0);
    return make_nccl(id, all.rank(), all.size(), std::chrono::minutes(1));
  }();
  return *group;
}

class CommunicatorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (on_nccl() && nccl_devices() < world().ranks().size())
      GTEST_SKIP() << "skipped: " << world().ranks().size()
                   << " ranks need as many devices, there are " << nccl_devices() << " ("
                   << nccl_version() << ")";
  }
};

/// What rank `from` says to rank `to` in round `round`: both can compute it.
std::vector<int64_t> letter(int from, int to, int round, size_t numbers) {
  std::vector<int64_t> text(numbers);
  std::iota(text.begin(), text.end(), from * 1'000'000 + to * 10'000 + round * 100);
  return text;
}

TEST_F(CommunicatorTest, HasTheRanksThatWereStarted) {
  EXPECT_EQ(ranks().size(), launched_ranks());
  EXPECT_GE(ranks().rank(), 0);
  EXPECT_LT(ranks().rank(), ranks().size());
  const std::vector<int64_t> everyone = ranks().gather(ranks().rank());
  for (int r = 0; r < ranks().size(); ++r) EXPECT_EQ(everyone[static_cast<size_t>(r)], r);
}

// Every size of a message that a bucket can have, none included.
TEST_F(CommunicatorTest, ExchangesASegmentOfEachSizeBetweenAllPairs) {
  const int me = ranks().rank(), n = ranks().size();
  for (const size_t numbers : {0, 1, 7, 4096, 300'001}) {
    std::vector<std::vector<int64_t>> out, in;
    std::vector<Message> sends, receives;
    for (int peer = 0; peer < n; ++peer) {
      out.push_back(letter(me, peer, 0, numbers));
      in.emplace_back(numbers, -1);
      sends.push_back({peer, out.back().data(), numbers * sizeof(int64_t)});
      receives.push_back({peer, in.back().data(), numbers * sizeof(int64_t)});
    }
    ranks().exchange(sends, receives);
    for (int peer = 0; peer < n; ++peer)
      EXPECT_EQ(in[static_cast<size_t>(peer)], letter(peer, me, 0, numbers)) << peer;
  }
}

TEST_F(CommunicatorTest, KeepsTheOrderOfMessagesAndManyExchangesUnderWay) {
  const int me = ranks().rank(), n = ranks().size();
  constexpr int kRounds = 20;
  std::vector<std::vector<int64_t>> out, in;
  std::vector<Communicator::Ticket> tickets;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Message> sends, receives;
    for (int peer = 0; peer < n; ++peer) {
      const size_t numbers = static_cast<size_t>(round % 3 + 1);
      out.push_back(letter(me, peer, round, numbers));
      in.emplace_back(numbers, -1);
      sends.push_back({peer, out.back().data(), numbers * sizeof(int64_t)});
      receives.push_back({peer, in.back().data(), numbers * sizeof(int64_t)});
    }
    tickets.push_back(ranks().start_exchange(sends, receives));
  }
  for (auto ticket = tickets.rbegin(); ticket != tickets.rend(); ++ticket) ranks().wait(*ticket);
  for (int round = 0; round < kRounds; ++round)
    for (int peer = 0; peer < n; ++peer)
      EXPECT_EQ(in[static_cast<size_t>(round * n + peer)],
                letter(peer, me, round, static_cast<size_t>(round % 3 + 1)));
  for (const Communicator::Ticket ticket : tickets) EXPECT_TRUE(ranks().done(ticket));
}

// As the stages of a pipeline do: some ranks only send, some only receive.
TEST_F(CommunicatorTest, PassesOnFromNeighbourToNeighbour) {
  const int me = ranks().rank(), n = ranks().size();
  int64_t value = 0;
  if (me > 0) {
    const Message from[] = {{me - 1, &value, sizeof(value)}};
    ranks().exchange(std::span<const Message>(),
                     n > 1 ? std::span<const Message>(from) : std::span<const Message>());
  }
  EXPECT_EQ(value, me);
  int64_t next = value + 1;
  if (me + 1 < n) {
    const Message to[] = {{me + 1, &next, sizeof(next)}};
    ranks().exchange(to, {});
  }
}

TEST_F(CommunicatorTest, BroadcastsFromEachRank) {
  for (int root = 0; root < ranks().size(); ++root) {
    std::vector<int64_t> data = letter(ranks().rank(), 0, 0, 1000);
    ranks().broadcast(data.data(), data.size() * sizeof(int64_t), root);
    EXPECT_EQ(data, letter(root, 0, 0, 1000));
    EXPECT_EQ(ranks().broadcast_text(std::string(static_cast<size_t>(ranks().rank()), 'x'), root),
              std::string(static_cast<size_t>(root), 'x'));
  }
}

TEST_F(CommunicatorTest, GathersTextsOfDifferentLengths) {
  const std::vector<std::string> texts =
      ranks().gather_texts(std::string(static_cast<size_t>(3 * ranks().rank()), 'y'));
  ASSERT_EQ(texts.size(), static_cast<size_t>(ranks().size()));
  for (size_t r = 0; r < texts.size(); ++r) EXPECT_EQ(texts[r], std::string(3 * r, 'y'));
}

TEST_F(CommunicatorTest, FindsTheLargest) {
  EXPECT_EQ(ranks().max(ranks().rank() == ranks().size() / 2 ? 7 : -3), 7);
}

TEST_F(CommunicatorTest, NobodyPassesABarrierBeforeTheLastHasCome) {
  using Clock = std::chrono::steady_clock;
  ranks().barrier();
  const auto start = Clock::now();
  if (ranks().rank() == ranks().size() - 1)
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
  ranks().barrier();
  EXPECT_GE(Clock::now() - start, std::chrono::milliseconds(40));
}

TEST_F(CommunicatorTest, SplitsIntoGroupsThatDoNotMix) {
  const int me = ranks().rank(), n = ranks().size();
  const auto group = ranks().split(me % 2, -me);  // even and odd ranks, the last one first
  const int members = (n + 1 - me % 2) / 2;
  ASSERT_EQ(group->size(), members);
  const std::vector<int64_t> world_ranks = group->gather(me);
  for (int i = 0; i < members; ++i)
    EXPECT_EQ(world_ranks[static_cast<size_t>(i)], me % 2 + 2 * (members - 1 - i));
  EXPECT_EQ(world_ranks[static_cast<size_t>(group->rank())], me);
}

// Each has the ranks that share the other coordinates, in order.
TEST_F(CommunicatorTest, SplitsIntoTheGroupsOfAGrid) {
  const int n = ranks().size(), pp = n % 2 == 0 ? 2 : 1, tp = n % 4 == 0 ? 2 : 1;
  const ProcessGrid grid(fit_grid(n, tp, pp), ranks().rank());
  const auto members = [&](const std::unique_ptr<Communicator>& group) {
    return group->gather(ranks().rank());
  };
  const GridPlace at = grid.place();
  const auto dp = grid.split_dp(ranks()), tp_group = grid.split_tp(ranks()),
             pp_group = grid.split_pp(ranks());
  ASSERT_EQ(dp->size(), grid.shape().dp);
  ASSERT_EQ(tp_group->size(), tp);
  ASSERT_EQ(pp_group->size(), pp);
  for (int i = 0; i < dp->size(); ++i)
    EXPECT_EQ(members(dp)[static_cast<size_t>(i)], grid.rank_at({i, at.tp, at.pp}));
  for (int i = 0; i < tp; ++i)
    EXPECT_EQ(members(tp_group)[static_cast<size_t>(i)], grid.rank_at({at.dp, i, at.pp}));
  for (int i = 0; i < pp; ++i)
    EXPECT_EQ(members(pp_group)[static_cast<size_t>(i)], grid.rank_at({at.dp, at.tp, i}));
}

TEST_F(CommunicatorTest, TwoThreadsUseTwoGroups) {
  const auto a = ranks().split(0, ranks().rank()), b = ranks().split(0, ranks().rank());
  const auto talk = [](Communicator& group, int64_t salt) {
    for (int64_t i = 0; i < 50; ++i) EXPECT_EQ(group.max(salt + i), salt + i);
  };
  std::thread other([&] { talk(*b, 1000); });
  talk(*a, 0);
  other.join();
}

// Whoever sends goes on at once, however late and in whatever order of groups it is received.
TEST_F(CommunicatorTest, GroupsAreReceivedInAnyOrder) {
  if (on_nccl()) GTEST_SKIP() << "skipped: NCCL's messages wait for those before them";
  const auto a = ranks().split(0, ranks().rank()), b = ranks().split(0, ranks().rank());
  const int me = a->rank(), n = a->size(), right = (me + 1) % n, left = (me + n - 1) % n;
  if (n == 1) return;
  for (const size_t numbers : {1, 1'000'000}) {
    const std::vector<int64_t> first = letter(me, right, 1, numbers),
                               second = letter(me, right, 2, numbers);
    std::vector<int64_t> in_a(numbers), in_b(numbers);
    const size_t bytes = numbers * sizeof(int64_t);
    const Message to_a[] = {{right, const_cast<int64_t*>(first.data()), bytes}},
                  to_b[] = {{right, const_cast<int64_t*>(second.data()), bytes}},
                  from_a[] = {{left, in_a.data(), bytes}}, from_b[] = {{left, in_b.data(), bytes}};
    const auto sent_a = a->start_exchange(to_a, {}), sent_b = b->start_exchange(to_b, {});
    b->exchange({}, from_b);
    a->exchange({}, from_a);
    a->wait(sent_a);
    b->wait(sent_b);
    EXPECT_EQ(in_a, letter(left, me, 1, numbers));
    EXPECT_EQ(in_b, letter(left, me, 2, numbers));
  }
}

TEST_F(CommunicatorTest, ManyMessagesAreSentBeforeAnyIsReceived) {
  if (on_nccl()) GTEST_SKIP() << "skipped: NCCL's sends wait for their receives";
  constexpr int kMany = 500;
  const int me = ranks().rank(), n = ranks().size(), right = (me + 1) % n, left = (me + n - 1) % n;
  if (n == 1) return;
  std::vector<std::vector<int64_t>> out, in;
  std::vector<Communicator::Ticket> tickets;
  for (int i = 0; i < kMany; ++i) {
    out.push_back(letter(me, right, i, static_cast<size_t>(i % 7 * 100)));
    in.emplace_back(out.back().size());
  }
  for (std::vector<int64_t>& each : out) {
    const Message to[] = {{right, each.data(), each.size() * sizeof(int64_t)}};
    tickets.push_back(ranks().start_exchange(to, {}));
  }
  ranks().barrier();  // by messages that overtake them
  for (int i = 0; i < kMany; ++i) {
    std::vector<int64_t>& each = in[static_cast<size_t>(i)];
    const Message from[] = {{left, each.data(), each.size() * sizeof(int64_t)}};
    ranks().exchange({}, from);
    EXPECT_EQ(each, letter(left, me, i, each.size()));
  }
  for (const Communicator::Ticket ticket : tickets) ranks().wait(ticket);
}

TEST_F(CommunicatorTest, PlainSumsAddUpAllRanks) {
  if (on_nccl()) GTEST_SKIP() << "skipped: NCCL's numbers lie in a device";
  const int n = ranks().size();
  for (const size_t count : {0, 1, 5, 1000}) {
    std::vector<float> data(count);
    for (size_t i = 0; i < count; ++i) data[i] = static_cast<float>(ranks().rank() + 1) + i % 9;
    plain_sum(ranks(), data.data(), count);
    for (size_t i = 0; i < count; ++i)
      EXPECT_EQ(data[i], static_cast<float>(n * (n + 1) / 2) + n * (i % 9)) << i;
  }
}

// Around the ring: the first rank lets the second wait, and that one all others.
TEST_F(CommunicatorTest, CountsWhatItSends) {
  const auto group = ranks().split(0, ranks().rank());
  const int me = group->rank(), n = group->size();
  if (n == 1) return;  // nothing leaves a rank that is alone
  std::vector<char> data(1 << 20), there(data.size());
  const Message to[] = {{(me + 1) % n, data.data(), data.size()}};
  const Message from[] = {{(me + n - 1) % n, there.data(), there.size()}};
  if (me > 0) group->exchange({}, from);
  if (me < 2) std::this_thread::sleep_for(std::chrono::milliseconds(30));
  group->exchange(to, {});
  if (me == 0) group->exchange({}, from);
  const WireTotals totals = group->wire_totals();
  EXPECT_EQ(totals.sent_bytes, data.size());
  EXPECT_GT(totals.busy_seconds, 0);
  EXPECT_GT(totals.wait_seconds, 0);
}

TEST(World, SomeRankSharesOurCores) {
  const int sharing = world().ranks_sharing_cores();
  EXPECT_GE(sharing, 1);
  EXPECT_LE(sharing, ranks().size());
}

}  // namespace
}  // namespace isoflop
