#include "parallel/tcp_world.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"
#include "parallel/pulse.hpp"
#include "parallel/shared_cores.hpp"
#include "parallel/tcp_mesh.hpp"

#include <algorithm>
#include <cstdlib>

namespace isoflop {

namespace {

class TcpCommunicator : public Communicator {
 public:
  TcpCommunicator(TcpMesh& mesh, TcpMesh::Group group) : mesh_(mesh), group_(std::move(group)) {}
  ~TcpCommunicator() override { mesh_.forget(group_); }
  TcpCommunicator(const TcpCommunicator&) = delete;
  TcpCommunicator& operator=(const TcpCommunicator&) = delete;

  int rank() const override { return group_.rank; }
  int size() const override { return static_cast<int>(group_.members.size()); }

  Ticket start_exchange(std::span<const Message> sends,
                        std::span<const Message> receives) override {
    TcpMesh::Stage stage{{sends.begin(), sends.end()}, {receives.begin(), receives.end()}};
    // What goes one way may be waited for by what comes the other; what goes both ways is started
    // in one order by all.
    const bool in_turn = !sends.empty() && !receives.empty();
    return start("exchange", {std::move(stage)}, false, in_turn);
  }
  /// Everyone to everyone: as many bytes as around a ring, and no rank waits for two others.
  Ticket start_all_gather(const void* mine, void* all, size_t bytes) override {
    TcpMesh::Stage stage;
    for (int i = 0; i < size(); ++i) {
      const int to = (rank() + i) % size(), from = (rank() + size() - i) % size();
      stage.sends.push_back({to, const_cast<void*>(mine), bytes});
      stage.receives.push_back(
          {from, static_cast<char*>(all) + static_cast<size_t>(from) * bytes, bytes});
    }
    return start("all-gather", {std::move(stage)});
  }
  /// Down a tree: at a distance of v from the root a rank hears of v without its highest bit.
  Ticket start_broadcast(void* data, size_t bytes, int root) override {
    const int n = size(), mine = (rank() - root + n) % n;
    const auto with = [&](int place) { return Message{(place + root) % n, data, bytes}; };
    int reach = 1;
    while (reach <= mine) reach *= 2;
    TcpMesh::Stage hear, tell;
    if (mine > 0) hear.receives.push_back(with(mine - reach / 2));
    for (; mine + reach < n; reach *= 2) tell.sends.push_back(with(mine + reach));
    return start("broadcast", {std::move(hear), std::move(tell)});
  }
  Ticket start_barrier() override {
    TcpMesh::Stage stage;
    for (int peer = 0; peer < size(); ++peer) {
      stage.sends.push_back({peer, nullptr, 0});
      stage.receives.push_back({peer, nullptr, 0});
    }
    return start("barrier", {std::move(stage)});
  }
  bool done(Ticket ticket) override { return mesh_.ledger().done(ticket); }
  void wait(Ticket ticket) override {
    const InWait waiting;
    mesh_.ledger().wait(group_.account, ticket);
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    const std::vector<int64_t> colors = gather(color), keys = gather(key);
    std::vector<std::pair<int64_t, int>> order;  // key, rank
    for (int r = 0; r < size(); ++r)
      if (colors[static_cast<size_t>(r)] == color)
        order.emplace_back(keys[static_cast<size_t>(r)], r);
    std::sort(order.begin(), order.end());
    TcpMesh::Group part;
    part.id = hash_text(fmt::format("{} {} {}", group_.id, ++splits_, color));
    for (const auto& [ignored, r] : order) {
      if (r == rank()) part.rank = static_cast<int>(part.members.size());
      part.members.push_back(group_.members[static_cast<size_t>(r)]);
    }
    return std::make_unique<TcpCommunicator>(mesh_, std::move(part));
  }
  WireTotals wire_totals() const override { return mesh_.ledger().totals(group_.account); }

 private:
  Ticket start(const char* what,
               std::vector<TcpMesh::Stage> stages,
               bool collective = true,
               bool in_turn = false) {
    pulse().communicate(what);
    return mesh_.start(group_, what, std::move(stages), collective, in_turn);
  }

  TcpMesh& mesh_;
  TcpMesh::Group group_;
  int splits_ = 0;
};

TcpMesh::Group everyone(const TcpPlace& place) {
  TcpMesh::Group group;
  group.rank = place.rank;
  for (int rank = 0; rank < place.size; ++rank) group.members.push_back(rank);
  return group;
}

class TcpWorld : public World {
 public:
  TcpWorld(const TcpPlace& place, TcpMeeting meeting)
      : mesh_(place.rank, std::move(meeting.seats)),
        ranks_(mesh_, everyone(place)),
        sharing_cores_(count_sharing_cores(ranks_)) {}  // after which nobody needs the store

  Communicator& ranks() override { return ranks_; }
  int ranks_sharing_cores() override { return sharing_cores_; }
  void record_spans(size_t most) override { mesh_.ledger().record_spans(most); }
  std::vector<WireSpan> spans() override { return mesh_.ledger().spans(); }
  FailureVote failed() override { return mesh_.exchange_alarms(); }
  void abort(int code) override { mesh_.abort(code); }

 private:
  TcpMesh mesh_;
  TcpCommunicator ranks_;
  const int sharing_cores_;
};

}  // namespace

std::unique_ptr<World> make_tcp_world(const TcpPlace& place, std::chrono::milliseconds patience) {
  TcpMeeting meeting = tcp_meet(place, patience);
  const std::unique_ptr<TcpStoreServer> server = std::move(meeting.server);
  return std::make_unique<TcpWorld>(place, std::move(meeting));
}

}  // namespace isoflop
