// WireLedger: what a thread that moves messages has under way, for those who wait for it: tickets,
// times, bytes. The thread opens and closes; computing threads ask and wait, and never for a wire.
#pragma once
#include "core/error.hpp"
#include "parallel/communicator.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <unordered_set>

namespace isoflop {

/// What is under way will not end, since another rank is gone: why that is, it knows better.
struct LostRank : IoError {
  using IoError::IoError;
};

class WireLedger {
 public:
  using Clock = std::chrono::steady_clock;
  /// Of a group.
  struct Account {
    int active = 0;  // entries not closed
    Clock::time_point since;
    WireTotals totals;
  };
  struct Entry {
    Account* account;
    const char* what;  // a literal
    uint64_t ticket, sent_bytes;
    Clock::time_point start;  // may be moved until it is closed
  };

  /// `wake` is called when somebody begins to wait: from then on time counts.
  explicit WireLedger(std::function<void()> wake) : wake_(std::move(wake)) {}

  Entry open(Account& account, const char* what, uint64_t sent_bytes);
  void close(const Entry& entry);
  bool done(uint64_t ticket);
  void wait(Account& account, uint64_t ticket);
  /// Nothing that is open will be closed: whoever waits or asks for it meets a LostRank with this
  /// text. The first one counts.
  void fail(const std::string& text);
  bool awaited() const { return waiting_ > 0; }
  /// Whether somebody has met the failure.
  bool failure_met() const { return failure_met_; }

  WireTotals totals(const Account& account) const;
  /// See World.
  void record_spans(size_t most);
  std::vector<WireSpan> spans() const;

 private:
  bool closed(uint64_t ticket);  // with the lock

  const std::function<void()> wake_;
  mutable std::mutex mutex_;
  std::condition_variable closed_;
  std::unordered_set<uint64_t> open_;
  std::vector<WireSpan> spans_;
  std::string failure_;
  uint64_t last_ticket_ = 0;
  std::atomic<int> waiting_{0};
  std::atomic<bool> failure_met_{false};
};

}  // namespace isoflop
