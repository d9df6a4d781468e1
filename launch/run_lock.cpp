#include "launch/run_lock.hpp"

#include "core/error.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <thread>

namespace isoflop {

namespace {

std::string content(int file) {
  char text[256] = {};
  const ssize_t got = ::pread(file, text, sizeof(text) - 1, 0);
  std::string holder(text, got > 0 ? static_cast<size_t>(got) : 0);
  while (!holder.empty() && holder.back() == '\n') holder.pop_back();
  return holder.empty() ? "another process" : holder;
}

}  // namespace

RunLock::RunLock(const fs::path& run, double patience) {
  const fs::path path = run / "lock";
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) fail_user("cannot open {}: {}", path.string(), std::strerror(errno));
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                   std::chrono::duration<double>(patience));
  while (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return;
    if (Clock::now() >= end) {
      const std::string holder = content(file_);
      ::close(file_);
      fail_user("{} is being trained by {}; wait for it to end, or choose another --out",
                run.string(), holder);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  const std::string text = fmt::format("process {} on {}\n", ::getpid(), host);
  [[maybe_unused]] const int cut = ::ftruncate(file_, 0);
  [[maybe_unused]] const ssize_t wrote = ::pwrite(file_, text.data(), text.size(), 0);
}

RunLock::~RunLock() {
  ::close(file_);
}

}  // namespace isoflop
