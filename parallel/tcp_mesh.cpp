#include "parallel/tcp_mesh.hpp"

#include "core/error.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace isoflop {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr size_t kWindow = size_t{2} << 20;           // of exchanges that wait for their turn
constexpr timespec kNap = {0, 300'000};               // between two looks while all compute
constexpr auto kFailurePatience = milliseconds(700);  // for others that fail as well
constexpr auto kByePatience = seconds(5), kAbortPatience = seconds(1);
constexpr auto kComputePatience = seconds(15);  // for computing threads to meet a failure

}  // namespace

TcpMesh::TcpMesh(int rank, std::vector<TcpSeat> seats)
    : rank_(rank), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (size_t r = 0; r < seats.size(); ++r)
    links_.push_back(std::make_unique<TcpLink>(
        seats[r].socket, fmt::format("rank {} of {} on {}", r, seats.size(), seats[r].host)));
  // Signals are for the main thread.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { work(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TcpMesh::~TcpMesh() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake();
  thread_.join();
  ::close(wake_);
}

void TcpMesh::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = ::write(wake_, &one, sizeof(one));
}

uint64_t TcpMesh::start(
    Group& group, const char* what, std::vector<Stage> stages, bool collective, bool in_turn) {
  uint64_t bytes = 0;
  for (const Stage& stage : stages)
    for (const Message& message : stage.sends)
      if (message.peer != group.rank) bytes += message.bytes;
  uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    const WireLedger::Entry entry = ledger_.open(group.account, what, bytes);
    ticket = entry.ticket;
    queue_.push_back({&group, entry, std::move(stages), collective, in_turn});
  }
  wake();
  return ticket;
}

void TcpMesh::forget(const Group& group) {
  std::unique_lock lock(mutex_);
  forgotten_ = &group;
  wake();
  forgotten_changed_.wait(lock, [&] { return !forgotten_; });
}

FailureVote TcpMesh::exchange_alarms() {
  std::unique_lock lock(mutex_);
  alarmed_ = true;
  wake();
  const size_t others = links_.size() - 1;
  heard_changed_.wait_for(lock, kFailurePatience, [&] { return heard_.size() == others; });
  return {.lowest = heard_.empty() || *heard_.begin() > rank_, .everyone = heard_.size() == others};
}

void TcpMesh::abort(int code) {
  {
    const std::lock_guard lock(mutex_);
    abort_ = code;
  }
  wake();
  std::this_thread::sleep_for(kAbortPatience + seconds(1));
  std::_Exit(code);  // the thread would have
}

void TcpMesh::work() {
  while (true) {
    uint64_t wakes = 0;
    [[maybe_unused]] const ssize_t ignored = ::read(wake_, &wakes, sizeof(wakes));
    bool alarm = false, end = false;
    std::optional<int> code;
    {
      const std::lock_guard lock(mutex_);
      take_jobs();
      if (forgotten_) let_go(*std::exchange(forgotten_, nullptr));
      alarm = alarmed_;
      end = ending_;
      code = abort_;
    }
    if (alarm && !said_alarm_) {
      fail("this rank has failed");
      for (const auto& link : links_) link->say(TcpLink::Kind::alarm);
      said_alarm_ = true;
    }
    if (code) {
      fail("this rank ends all");
      leave(TcpLink::Kind::abort, static_cast<uint64_t>(*code), kAbortPatience);
      std::_Exit(*code);
    }
    while (begin_jobs() || advance()) {
    }
    for (const auto& link : links_) move(*link, false);
    if (end && ((held_.empty() && active_.empty()) || !failure_.empty())) break;
    if (!advance()) look(ledger_.awaited() || active_.empty());
    check_all();
  }
  leave(TcpLink::Kind::bye, 0, kByePatience);
}

/// With the lock.
void TcpMesh::let_go(const Group& group) {
  const auto belongs = [&](const Job& job) { return job.group == &group; };
  if (std::any_of(active_.begin(), active_.end(), belongs))
    fail("a group ended while messages were under way");
  held_.erase(std::remove_if(held_.begin(), held_.end(), belongs), held_.end());
  active_.remove_if(belongs);
  forgotten_changed_.notify_all();
}

/// With the lock: numbers are given in the order in which jobs were started.
void TcpMesh::take_jobs() {
  for (Job& job : queue_) {
    number(job);
    held_.push_back(std::move(job));
  }
  queue_.clear();
}

void TcpMesh::number(Job& job) {
  Group& group = *job.group;
  for (const Stage& stage : job.stages) {
    std::vector<uint64_t>& sends = job.sequences.emplace_back();
    for (const Message& m : stage.sends) sends.push_back(group.sent[job.collective][m.peer]++);
    std::vector<uint64_t>& receives = job.sequences.emplace_back();
    for (const Message& m : stage.receives)
      receives.push_back(group.received[job.collective][m.peer]++);
  }
}

/// Whether anything could begin.
bool TcpMesh::begin_jobs() {
  bool begun = false;
  for (auto each = held_.begin(); each != held_.end() && failure_.empty();) {
    Group& group = *each->group;
    if (each->in_turn && group.in_window >= kWindow) {
      each->was_held = true;
      ++each;
      continue;
    }
    active_.push_back(std::move(*each));
    each = held_.erase(each);
    Job& job = active_.back();
    if (job.in_turn) group.in_window += job.entry.sent_bytes;
    if (job.was_held) job.entry.start = Clock::now();
    begin_stage(job);
    begun = true;
  }
  return begun;
}

void TcpMesh::begin_stage(Job& job) {
  const Stage& stage = job.stages[job.stage];
  const uint64_t channel = 2 * job.group->id + job.collective;
  const auto start = [&](const Message& m, uint64_t sequence, bool sends) {
    if (!failure_.empty()) return;
    TcpLink& to = link(*job.group, m.peer);
    try {
      if (sends)
        to.send({channel, sequence}, m.data, m.bytes, &job.open);
      else
        to.receive({channel, sequence}, m.data, m.bytes, &job.open);
    } catch (const IoError& error) {
      lose(to, error.what());
    }
  };
  // Receives first: what they want goes out with the data.
  for (size_t i = 0; i < stage.receives.size(); ++i)
    start(stage.receives[i], job.sequences[2 * job.stage + 1][i], false);
  for (size_t i = 0; i < stage.sends.size(); ++i)
    start(stage.sends[i], job.sequences[2 * job.stage][i], true);
}

/// Begins stages whose one before has ended, and closes jobs. Whether there were any.
bool TcpMesh::advance() {
  bool any = false;
  for (auto each = active_.begin(); each != active_.end() && failure_.empty();) {
    Job& job = *each;
    if (job.open > 0) {
      ++each;
      continue;
    }
    any = true;
    if (++job.stage < job.stages.size()) {
      begin_stage(job);
      continue;
    }
    if (job.in_turn) job.group->in_window -= job.entry.sent_bytes;
    const WireLedger::Entry entry = job.entry;
    each = active_.erase(each);
    ledger_.close(entry);
  }
  return any;
}

TcpLink& TcpMesh::link(const Group& group, int peer) {
  return *links_[static_cast<size_t>(group.members[static_cast<size_t>(peer)])];
}

/// Waits for sockets and for whoever wakes us.
void TcpMesh::look(bool awaited) {
  std::vector<pollfd> all = {{wake_, POLLIN, 0}};
  if (!awaited) ::ppoll(all.data(), 1, &kNap, nullptr);
  std::vector<TcpLink*> asked;
  for (const auto& link : links_) {
    if (link->socket() < 0) continue;
    const int events = POLLIN | (link->has_output() ? POLLOUT : 0);
    all.push_back({link->socket(), static_cast<short>(events), 0});
    asked.push_back(link.get());
  }
  if (::poll(all.data(), all.size(), 1000) < 0) return;
  for (size_t i = 0; i < asked.size(); ++i)
    if (all[i + 1].revents & ~POLLOUT) move(*asked[i], true);
}

void TcpMesh::move(TcpLink& link, bool reads) {
  if (link.socket() < 0) return;
  try {
    reads ? link.read() : link.write();
  } catch (const IoError& error) {
    lose(link, error.what());
  }
  if (link.abort_code()) std::_Exit(*link.abort_code());
  if (!link.alarmed()) return;
  const std::lock_guard lock(mutex_);
  for (size_t r = 0; r < links_.size(); ++r)
    if (links_[r].get() == &link && heard_.insert(static_cast<int>(r)).second)
      heard_changed_.notify_all();
}

void TcpMesh::lose(TcpLink& link, const std::string& why) {
  link.hang_up();
  if (!link.in_order()) fail(why);
}

void TcpMesh::fail(const std::string& why) {
  if (!failure_.empty()) return;
  failure_ = why;
  failed_since_ = Clock::now();
  for (const auto& link : links_) link->drop();  // before those who own the memory hear of it
  ledger_.fail(why);
}

/// The last frame to everyone, and then until they have read it, have gone, or it takes too long.
void TcpMesh::leave(TcpLink::Kind last, uint64_t value, Clock::duration patience) {
  for (const auto& link : links_) link->say(last, value);
  std::set<TcpLink*> closed;
  for (const Clock::time_point end = Clock::now() + patience; Clock::now() < end;) {
    std::vector<pollfd> all;
    for (const auto& link : links_) {
      move(*link, false);
      if (link->socket() < 0) continue;
      const bool writes = link->has_output();
      if (!writes && closed.insert(link.get()).second) link->finish_writing();
      all.push_back({link->socket(), static_cast<short>(POLLIN | (writes ? POLLOUT : 0)), 0});
    }
    if (all.empty()) return;
    ::poll(all.data(), all.size(), 50);
    for (const auto& link : links_) move(*link, true);
  }
}

/// Looks for hosts that vanished; and when nobody here waits for anything, so that nobody meets
/// the failure, the run is over all the same.
void TcpMesh::check_all() {
  const Clock::time_point now = Clock::now();
  if (now < next_check_) return;
  next_check_ = now + seconds(1);
  for (const auto& link : links_) {
    if (link->socket() < 0) continue;
    try {
      link->check_alive();
    } catch (const IoError& error) {
      lose(*link, error.what());
    }
  }
  if (failure_.empty() || said_alarm_ || ledger_.failure_met() ||
      now - failed_since_ < kComputePatience)
    return;
  std::fprintf(stderr, "isoflop: rank %d: %s\n", rank_, failure_.c_str());
  leave(TcpLink::Kind::abort, static_cast<uint64_t>(ExitCode::kIo), kAbortPatience);
  std::_Exit(static_cast<int>(ExitCode::kIo));
}

}  // namespace isoflop
