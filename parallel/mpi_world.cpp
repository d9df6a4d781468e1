#include "parallel/mpi_world.hpp"

#include "core/error.hpp"
#include "parallel/pulse.hpp"
#include "parallel/shared_cores.hpp"
#include "parallel/wire_ledger.hpp"

#if ISOFLOP_MPI
#include <fmt/format.h>
#include <mpi.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <iterator>
#include <mutex>
#include <thread>
#include <utility>

namespace isoflop {

namespace {

using Clock = WireLedger::Clock;
constexpr size_t kMostBytes = size_t{1} << 30;  // of one MPI call, whose counts are ints
// Of exchanges that wait for their turn. A receiver asks for a large message, and what it asks
// stands behind all that it sends by the same socket: with half of this, one is on the way at a
// time.
constexpr size_t kWindow = size_t{4} << 20;
// Between two looks at what is under way: while somebody waits for it, and while all compute, who
// then have the core. What a wire carries in the longer one, the kernel's buffers hold.
constexpr auto kShortPause = std::chrono::microseconds(30);
constexpr auto kLongPause = std::chrono::microseconds(300);
constexpr auto kFailurePatience = std::chrono::milliseconds(700);

/// The one thread that calls MPI. Jobs are posted in the order they come in and then polled; a
/// polling thread that sleeps between looks hides nearly all of the wire behind computation, where
/// one that blocks in MPI spins and takes a core.
class Engine {
 public:
  using Requests = std::vector<MPI_Request>;
  struct Group {  // of ranks, as MPI knows it
    MPI_Comm comm = MPI_COMM_NULL;
    int rank = 0, size = 1;
    WireLedger::Account account;
    size_t in_window = 0;  // bytes under way of jobs that take turns
    bool held = false;     // one of them waits, so do all behind it: messages meet by their order
  };

  Engine() {
    // Signals are for the main thread.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { work(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~Engine() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  /// `what` is borrowed for ever: a literal. A job `in_turn` is posted once those of its group that
  /// were before it leave room in the window.
  uint64_t start(Group& group,
                 const char* what,
                 std::function<void(Requests&)> post,
                 uint64_t sent_bytes,
                 bool in_turn = false) {
    const std::lock_guard lock(mutex_);
    const WireLedger::Entry entry = ledger_.open(group.account, what, sent_bytes);
    queue_.push_back({&group, entry, std::move(post), {}, in_turn});
    changed_.notify_all();
    return entry.ticket;
  }
  void wait(Group& group, uint64_t ticket) { ledger_.wait(group.account, ticket); }
  /// Calls `call` on the thread and waits for it: for what MPI has no asynchronous form of.
  void run(Group& group, const std::function<void()>& call) {
    wait(group, start(
                    group, "call", [&](Requests&) { call(); }, 0));
  }
  WireLedger& ledger() { return ledger_; }

 private:
  struct Job {
    Group* group;
    WireLedger::Entry entry;
    std::function<void(Requests&)> post;
    Requests requests;
    bool in_turn;
    bool was_held = false;
  };

  void work() {
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    std::deque<Job> held;  // not posted yet
    std::vector<Job> active;
    std::unique_lock lock(mutex_);
    while (true) {
      if (active.empty() && held.empty()) {
        changed_.wait(lock, [this] { return !queue_.empty() || ending_; });
        if (queue_.empty()) break;
      }
      std::move(queue_.begin(), queue_.end(), std::back_inserter(held));
      queue_.clear();
      lock.unlock();
      const bool posted = post(held, active), finished = close_finished(active);
      lock.lock();
      if (!posted && !finished) pause(lock);
    }
    lock.unlock();
    MPI_Finalize();
  }

  void pause(std::unique_lock<std::mutex>& lock) {
    const bool awaited = ledger_.awaited();
    changed_.wait_for(lock, awaited ? kShortPause : kLongPause,
                      [&] { return !queue_.empty() || (!awaited && ledger_.awaited()); });
  }

  /// Whether anything could go.
  static bool post(std::deque<Job>& held, std::vector<Job>& active) {
    const size_t before = active.size();
    std::deque<Job> rest;
    for (const Job& job : held) job.group->held = false;
    for (Job& job : held) {
      Group& group = *job.group;
      group.held |= job.in_turn && group.in_window >= kWindow;
      if (group.held) {
        job.was_held = true;
        rest.push_back(std::move(job));
        continue;
      }
      if (job.in_turn) group.in_window += job.entry.sent_bytes;
      if (job.was_held) job.entry.start = Clock::now();
      job.post(job.requests);
      active.push_back(std::move(job));
    }
    held = std::move(rest);
    return active.size() > before;
  }

  /// Whether there were any.
  bool close_finished(std::vector<Job>& active) {
    const size_t before = active.size();
    for (size_t i = 0; i < active.size();) {
      Job& job = active[i];
      int flag = 0;
      MPI_Testall(static_cast<int>(job.requests.size()), job.requests.data(), &flag,
                  MPI_STATUSES_IGNORE);
      if (!flag) {
        ++i;
        continue;
      }
      if (job.in_turn) job.group->in_window -= job.entry.sent_bytes;
      const WireLedger::Entry entry = job.entry;
      active.erase(active.begin() + static_cast<std::ptrdiff_t>(i));
      ledger_.close(entry);
    }
    return active.size() < before;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  WireLedger ledger_{[this] {
    { const std::lock_guard lock(mutex_); }  // the thread is in its pause, or will look again
    changed_.notify_all();
  }};
  std::deque<Job> queue_;
  bool ending_ = false;
  std::thread thread_;  // last: it uses everything above
};

/// Calls `call(data, bytes)` for pieces that an int can count.
template <class Call>
void in_pieces(void* data, size_t bytes, Call&& call) {
  auto* at = static_cast<char*>(data);
  do {
    const size_t piece = std::min(bytes, kMostBytes);
    call(at, static_cast<int>(piece));
    at += piece;
    bytes -= piece;
  } while (bytes > 0);
}

class MpiCommunicator : public Communicator {
 public:
  /// Takes over `comm` (never freed: that would wait for the others; MPI_Finalize does it).
  MpiCommunicator(Engine& engine, const std::function<MPI_Comm()>& make) : engine_(engine) {
    engine_.run(group_, [&] {
      group_.comm = make();
      MPI_Comm_rank(group_.comm, &group_.rank);
      MPI_Comm_size(group_.comm, &group_.size);
    });
  }

  int rank() const override { return group_.rank; }
  int size() const override { return group_.size; }

  Ticket start_exchange(std::span<const Message> sends,
                        std::span<const Message> receives) override {
    pulse().communicate("exchange");
    uint64_t bytes = 0;
    for (const Message& message : sends) bytes += message.bytes;
    const auto post =
        [comm = group_.comm, out = std::vector<Message>(sends.begin(), sends.end()),
         in = std::vector<Message>(receives.begin(), receives.end())](Engine::Requests& requests) {
          // Sends first. A receive that meets a peer's message answers it at once; were that answer
          // ahead of our own message, the peer would send all of its data before answering ours,
          // and the two directions of a wire would take turns.
          for (const Message& m : out)
            in_pieces(m.data, m.bytes, [&](void* data, int count) {
              MPI_Isend(data, count, MPI_BYTE, m.peer, 0, comm, &requests.emplace_back());
            });
          for (const Message& m : in)
            in_pieces(m.data, m.bytes, [&](void* data, int count) {
              MPI_Irecv(data, count, MPI_BYTE, m.peer, 0, comm, &requests.emplace_back());
            });
        };
    // What goes one way may be waited for by what comes the other; what goes both ways is started
    // in one order by all.
    return engine_.start(group_, "exchange", post, bytes, !sends.empty() && !receives.empty());
  }
  Ticket start_all_gather(const void* mine, void* all, size_t bytes) override {
    ISOFLOP_CHECK(bytes <= kMostBytes, "{} bytes are too many to gather at once", bytes);
    pulse().communicate("all-gather");
    return engine_.start(
        group_, "all-gather",
        [=, comm = group_.comm](Engine::Requests& requests) {
          const int count = static_cast<int>(bytes);
          MPI_Iallgather(mine, count, MPI_BYTE, all, count, MPI_BYTE, comm,
                         &requests.emplace_back());
        },
        bytes * static_cast<size_t>(size() - 1));
  }
  Ticket start_broadcast(void* data, size_t bytes, int root) override {
    pulse().communicate("broadcast");
    return engine_.start(
        group_, "broadcast",
        [=, comm = group_.comm](Engine::Requests& requests) {
          in_pieces(data, bytes, [&](void* piece, int count) {
            MPI_Ibcast(piece, count, MPI_BYTE, root, comm, &requests.emplace_back());
          });
        },
        rank() == root ? bytes : 0);
  }
  Ticket start_barrier() override {
    pulse().communicate("barrier");
    return engine_.start(
        group_, "barrier",
        [comm = group_.comm](Engine::Requests& requests) {
          MPI_Ibarrier(comm, &requests.emplace_back());
        },
        0);
  }
  bool done(Ticket ticket) override { return engine_.ledger().done(ticket); }
  void wait(Ticket ticket) override {
    const InWait waiting;
    engine_.wait(group_, ticket);
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    return std::make_unique<MpiCommunicator>(engine_, [&] {
      MPI_Comm part = MPI_COMM_NULL;
      MPI_Comm_split(group_.comm, color, key, &part);
      return part;
    });
  }
  WireTotals wire_totals() const override { return engine_.ledger().totals(group_.account); }

  void plain_sum(float* data, size_t count) {
    wait(engine_.start(
        group_, "all-reduce",
        [=, comm = group_.comm](Engine::Requests& requests) {
          in_pieces(data, count * sizeof(float), [&](void* piece, int bytes) {
            MPI_Iallreduce(MPI_IN_PLACE, piece, bytes / static_cast<int>(sizeof(float)), MPI_FLOAT,
                           MPI_SUM, comm, &requests.emplace_back());
          });
        },
        count * sizeof(float)));
  }

  MPI_Comm comm() const { return group_.comm; }

 private:
  Engine& engine_;
  Engine::Group group_;
};

class MpiWorld : public World {
 public:
  Communicator& ranks() override { return ranks_; }

  int ranks_sharing_cores() override { return sharing_cores_; }

  void record_spans(size_t most) override { engine_.ledger().record_spans(most); }
  std::vector<WireSpan> spans() override { return engine_.ledger().spans(); }

  FailureVote failed() override {
    FailureVote vote;
    engine_.run(alarm_group_, [&] { vote = exchange_alarms(); });
    return vote;
  }

  void abort(int code) override {
    engine_.run(alarm_group_, [&] { MPI_Abort(MPI_COMM_WORLD, code); });
    std::_Exit(code);
  }

 private:
  /// On the engine's thread, which has nothing better to do: the run is over.
  FailureVote exchange_alarms() {
    const int size = ranks_.size(), me = ranks_.rank();
    std::vector<MPI_Request> sends;
    for (int peer = 0; peer < size; ++peer)
      if (peer != me)
        MPI_Isend(nullptr, 0, MPI_BYTE, peer, 0, alarms_.comm(), &sends.emplace_back());
    FailureVote vote;
    int heard = 1;
    const Clock::time_point start = Clock::now();
    while (heard < size && Clock::now() - start < kFailurePatience) {
      int arrived = 0;
      MPI_Status status;
      MPI_Iprobe(MPI_ANY_SOURCE, 0, alarms_.comm(), &arrived, &status);
      if (!arrived) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, 0, alarms_.comm(), MPI_STATUS_IGNORE);
      ++heard;
      vote.lowest &= me < status.MPI_SOURCE;
    }
    vote.everyone = heard == size;
    if (vote.everyone)
      MPI_Waitall(static_cast<int>(sends.size()), sends.data(), MPI_STATUSES_IGNORE);
    return vote;
  }

  Engine engine_;
  Engine::Group alarm_group_;
  MpiCommunicator ranks_{engine_, [] { return MPI_COMM_WORLD; }};
  MpiCommunicator alarms_{engine_, [] {
                            MPI_Comm copy = MPI_COMM_NULL;
                            MPI_Comm_dup(MPI_COMM_WORLD, &copy);
                            return copy;
                          }};
  const int sharing_cores_ = count_sharing_cores(ranks_);  // here, where all ranks come by
};

}  // namespace

std::unique_ptr<World> make_mpi_world() {
  return std::make_unique<MpiWorld>();
}

bool mpi_plain_sum(Communicator& group, float* data, size_t count) {
  auto* const ranks = dynamic_cast<MpiCommunicator*>(&group);
  if (ranks) ranks->plain_sum(data, count);
  return ranks != nullptr;
}

std::string mpi_version() {
#ifdef OMPI_MAJOR_VERSION
  return fmt::format("Open MPI {}.{}.{}", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION,
                     OMPI_RELEASE_VERSION);
#else
  return fmt::format("MPI {}.{}", MPI_VERSION, MPI_SUBVERSION);
#endif
}

}  // namespace isoflop

#else

namespace isoflop {

std::unique_ptr<World> make_mpi_world() {
  return nullptr;
}

bool mpi_plain_sum(Communicator&, float*, size_t) {
  return false;
}

std::string mpi_version() {
  return "off";
}

}  // namespace isoflop
#endif
