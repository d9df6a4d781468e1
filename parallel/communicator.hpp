// Communicator: a group of ranks and what they tell each other. One interface over one process
// (make_self), over MPI or TCP (make_world) and over NCCL (make_nccl, nccl.hpp).
//
// Over all but the last messages lie in host memory, and what is built on them cannot tell which it
// has. Over NCCL they lie in a device's memory, in the order of the device's queue: a message comes
// behind all that was queued before start_*, and what is queued after wait() comes behind the
// message; the host itself goes on, and done() is what tells it. So code that queues its work and
// calls wait() before it queues what needs a message is right with either kind of memory.
//
// Collective calls are made by every rank of the group in the same order. start_* return at once;
// their memory is borrowed and must rest until done() or wait() says so. With MPI and TCP a thread
// of its own moves the messages, so the threads that compute never call MPI or wait for a socket,
// and what was started moves on while they compute. Bytes travel as they are: no sums are made on
// the way, so none can depend on how many ranks there are (parallel/slot_tree.hpp adds in an order
// of its own).
//
// All calls may come from any thread, but those of one group must keep their order on all ranks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// One message of an exchange. Only receives write to `data`.
struct Message {
  int peer = 0;
  void* data = nullptr;
  size_t bytes = 0;
};

/// What a group has spent on the wire so far.
struct WireTotals {
  double busy_seconds = 0;  // something was under way
  double wait_seconds = 0;  // somebody sat in wait() for it
  uint64_t sent_bytes = 0;
};
/// What was under way from `start` to `end`, in seconds of the steady clock. What was received
/// counts with what was sent.
struct WireSpan {
  const char* what = "";  // a literal
  uint64_t sent_bytes = 0;
  double start = 0, end = 0;
};
/// Of two groups: time that both spend counts twice.
inline WireTotals operator+(const WireTotals& a, const WireTotals& b) {
  return {a.busy_seconds + b.busy_seconds, a.wait_seconds + b.wait_seconds,
          a.sent_bytes + b.sent_bytes};
}

class Communicator {
 public:
  using Ticket = uint64_t;

  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Point to point, any number of messages: the n-th one sent from a to b meets the n-th one that
  /// b receives from a, which has the same size. Messages to oneself are allowed. Not collective: a
  /// rank without messages need not call it. What both sends and receives is started in one order
  /// by the ranks of a group and, with MPI and TCP, takes turns on the wire: what comes first
  /// arrives first.
  virtual Ticket start_exchange(std::span<const Message> sends,
                                std::span<const Message> receives) = 0;
  /// `bytes` of every rank, in the order of the ranks, into `all` (size() * bytes).
  virtual Ticket start_all_gather(const void* mine, void* all, size_t bytes) = 0;
  virtual Ticket start_broadcast(void* data, size_t bytes, int root) = 0;
  virtual Ticket start_barrier() = 0;
  /// Over TCP both throw IoError, with its name and host, when a rank is gone; MPI ends all itself.
  virtual bool done(Ticket ticket) = 0;
  virtual void wait(Ticket ticket) = 0;

  /// Collective. The ranks of one color become a group, ordered by (key, rank).
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  virtual WireTotals wire_totals() const = 0;

  void exchange(std::span<const Message> sends, std::span<const Message> receives) {
    wait(start_exchange(sends, receives));
  }
  void all_gather(const void* mine, void* all, size_t bytes) {
    wait(start_all_gather(mine, all, bytes));
  }
  void broadcast(void* data, size_t bytes, int root) { wait(start_broadcast(data, bytes, root)); }
  void barrier() { wait(start_barrier()); }

  bool is_root() const { return rank() == 0; }
  /// The largest of the ranks' values.
  int64_t max(int64_t value);
  /// Every rank's value, in order.
  std::vector<int64_t> gather(int64_t value);
  /// Text of any length, at every rank.
  std::string broadcast_text(std::string text, int root);
  std::vector<std::string> gather_texts(std::string_view text);
};

/// One rank alone.
std::unique_ptr<Communicator> make_self();

/// What a rank learns from the others when it has failed.
struct FailureVote {
  bool lowest = true;    // no failed rank has a lower number: this one speaks
  bool everyone = true;  // all ranks have failed: nobody is left to wait for
};

/// The group of all processes that were started together. It ends MPI or its connections, so it
/// outlives every group split from it.
class World {
 public:
  virtual ~World() = default;
  virtual Communicator& ranks() = 0;
  /// Ranks on this host that share our cores, us included.
  virtual int ranks_sharing_cores() = 0;
  /// From now on, keeps the first `most` spans of all groups; and gives them.
  virtual void record_spans(size_t most) = 0;
  virtual std::vector<WireSpan> spans() = 0;
  /// To be called by a rank that cannot go on. Waits a moment for others that fail as well.
  virtual FailureVote failed() = 0;
  /// Ends all ranks at once. The exit code of the whole is `code`.
  [[noreturn]] virtual void abort(int code) = 0;
};

/// Ranks that were started with us, by the environment that mpirun, srun or torchrun gave us; 1
/// without.
int launched_ranks();

/// MPI where that started us and is built in; else TCP, where the environment says who we are among
/// how many, and where the first rank is (tcp_meeting.hpp); else one rank alone. UserError when
/// there are more ranks and no way between them.
std::unique_ptr<World> make_world();

/// "Open MPI 4.1.4", or "off".
std::string mpi_version();

}  // namespace isoflop
