#include "parallel/wire_ledger.hpp"

namespace isoflop {

namespace {

using Clock = WireLedger::Clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double seconds_of(Clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

}  // namespace

WireLedger::Entry WireLedger::open(Account& account, const char* what, uint64_t sent_bytes) {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  if (account.active++ == 0) account.since = now;
  account.totals.sent_bytes += sent_bytes;
  open_.insert(++last_ticket_);
  return {&account, what, last_ticket_, sent_bytes, now};
}

void WireLedger::close(const Entry& entry) {
  {
    const std::lock_guard lock(mutex_);
    open_.erase(entry.ticket);
    Account& account = *entry.account;
    if (--account.active == 0) account.totals.busy_seconds += seconds_since(account.since);
    if (spans_.size() < spans_.capacity())
      spans_.push_back(
          {entry.what, entry.sent_bytes, seconds_of(entry.start), seconds_of(Clock::now())});
  }
  closed_.notify_all();
}

bool WireLedger::closed(uint64_t ticket) {
  if (open_.count(ticket) == 0) return true;
  if (failure_.empty()) return false;
  failure_met_ = true;
  throw LostRank(failure_);
}

bool WireLedger::done(uint64_t ticket) {
  const std::lock_guard lock(mutex_);
  return closed(ticket);
}

void WireLedger::wait(Account& account, uint64_t ticket) {
  const Clock::time_point start = Clock::now();
  if (done(ticket)) return;
  ++waiting_;
  wake_();
  std::unique_lock lock(mutex_);
  closed_.wait(lock, [&] { return open_.count(ticket) == 0 || !failure_.empty(); });
  --waiting_;
  account.totals.wait_seconds += seconds_since(start);
  closed(ticket);
}

void WireLedger::fail(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = text;
  closed_.notify_all();
}

WireTotals WireLedger::totals(const Account& account) const {
  const std::lock_guard lock(mutex_);
  WireTotals totals = account.totals;
  if (account.active > 0) totals.busy_seconds += seconds_since(account.since);
  return totals;
}

void WireLedger::record_spans(size_t most) {
  const std::lock_guard lock(mutex_);
  spans_.reserve(most);
}

std::vector<WireSpan> WireLedger::spans() const {
  const std::lock_guard lock(mutex_);
  return spans_;
}

}  // namespace isoflop
