// TcpMesh: a thread of its own that moves the messages of this rank over its links to all others
// (tcp_link.hpp). Jobs are stages of sends and receives; a stage begins when the one before has
// ended. While nobody waits the thread looks at the sockets now and then only, and leaves the core
// to those who compute: what a wire carries in between, the kernel's buffers hold.
#pragma once
#include "parallel/communicator.hpp"
#include "parallel/tcp_link.hpp"
#include "parallel/tcp_meeting.hpp"
#include "parallel/wire_ledger.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace isoflop {

class TcpMesh {
 public:
  struct Group {
    uint64_t id = 0;  // the same at all members
    int rank = 0;
    std::vector<int> members{};  // by rank in the group: rank in the world
    WireLedger::Account account{};
    size_t in_window = 0;  // bytes under way of jobs that take turns
    // Messages so far with each world rank: exchanges, which need not be everyone's, apart from
    // collectives, which are.
    std::map<int, uint64_t> sent[2]{}, received[2]{};
  };
  struct Stage {  // peers are ranks of the group
    std::vector<Message> sends{}, receives{};
  };

  TcpMesh(int rank, std::vector<TcpSeat> seats);
  /// Says bye and waits a moment until what is under way to others has arrived.
  ~TcpMesh();

  /// `what` is a literal. A job `in_turn`, which all start in one order, begins once those of its
  /// group that were before it leave room in the window.
  uint64_t start(
      Group& group, const char* what, std::vector<Stage> stages, bool collective, bool in_turn);
  WireLedger& ledger() { return ledger_; }
  /// Before a group goes, which with messages under way only a failure makes it do: they are let go
  /// of then.
  void forget(const Group& group);

  /// See World.
  FailureVote exchange_alarms();
  [[noreturn]] void abort(int code);

 private:
  using Clock = WireLedger::Clock;
  struct Job {
    Group* group;
    WireLedger::Entry entry;
    std::vector<Stage> stages;
    bool collective, in_turn;
    std::vector<std::vector<uint64_t>> sequences{};  // of each stage: its sends', its receives'
    size_t stage = 0;
    int open = 0;  // messages of the stage
    bool was_held = false;
  };

  void work();
  void take_jobs();
  void let_go(const Group& group);
  void number(Job& job);
  bool begin_jobs();
  bool advance();
  void begin_stage(Job& job);
  void look(bool awaited);
  void move(TcpLink& link, bool reads);
  void lose(TcpLink& link, const std::string& why);
  void fail(const std::string& why);
  void leave(TcpLink::Kind last, uint64_t value, Clock::duration patience);
  void check_all();
  void wake();
  TcpLink& link(const Group& group, int peer);

  const int rank_;
  std::vector<std::unique_ptr<TcpLink>> links_;  // by world rank
  int wake_ = -1;                                // an eventfd
  WireLedger ledger_{[this] { wake(); }};
  std::deque<Job> held_;  // not begun
  std::list<Job> active_;
  std::string failure_;
  bool said_alarm_ = false;
  Clock::time_point failed_since_, next_check_;

  std::mutex mutex_;  // of what follows
  std::condition_variable heard_changed_, forgotten_changed_;
  const Group* forgotten_ = nullptr;  // until the thread has let go of it
  std::deque<Job> queue_;
  std::set<int> heard_;  // alarms of other ranks
  bool ending_ = false, alarmed_ = false;
  std::optional<int> abort_;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace isoflop
