// One writer per run folder: RUN/lock is held by the first rank while it trains. The kernel keeps
// the lock and drops it with the process, so a lock is never stale, whatever the file says; the
// file says who holds it.
#pragma once
#include "core/file.hpp"

namespace isoflop {

class RunLock {
 public:
  /// UserError, with the holder's name, when somebody else still has it after `patience` seconds.
  /// A file system without locks is trusted.
  explicit RunLock(const fs::path& run, double patience = 0);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace isoflop
