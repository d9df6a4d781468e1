// WorkspacePool: what encoding needs besides the tokenizer, one per call under way, kept for the
// calls to come.
#pragma once
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace isoflop {

template <class Workspace>
class WorkspacePool {
 public:
  /// One for the caller alone, made of `arguments` if none is idle.
  template <class... Arguments>
  std::unique_ptr<Workspace> borrow(Arguments&&... arguments) {
    {
      const std::lock_guard lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Workspace> work = std::move(idle_.back());
        idle_.pop_back();
        return work;
      }
    }
    return std::make_unique<Workspace>(std::forward<Arguments>(arguments)...);
  }

  void give_back(std::unique_ptr<Workspace> work) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(work));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace isoflop
