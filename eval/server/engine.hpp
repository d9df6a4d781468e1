// Engine: one model, one thread that computes, a bounded queue of texts to write.
//
// The thread that made the model calls run(); others submit jobs and wait for what they write. Jobs
// are taken in order, one at a time; a prompt that begins like the last text costs only its rest.
#pragma once
#include "datasets/tokenizer.hpp"
#include "eval/generate.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace isoflop {

/// A text to write, and what has been written. Fields above the line are set before submit() and
/// only read from then on.
class Job {
 public:
  std::vector<int32_t> prompt;
  GenerateOptions generate;
  std::vector<std::string> stops;
  std::chrono::steady_clock::time_point deadline;
  // --------
  enum class End { stop, length, time, cancelled, failed };

  /// Nobody waits any more.
  void cancel() { cancelled_ = true; }
  /// Takes what was written since the last call, waiting up to `time` for something; true when
  /// there will be no more.
  bool take(std::string& text, std::chrono::milliseconds time);
  /// Once take() has returned true.
  End end() const { return end_; }
  int64_t written() const { return written_; }
  int64_t reused() const { return reused_; }

 private:
  friend class Engine;
  bool given_up() const { return cancelled_ || std::chrono::steady_clock::now() >= deadline; }
  void put(const std::string& text);
  void finish(End end);

  std::atomic<bool> cancelled_{false};
  std::mutex mutex_;  // of the rest
  std::condition_variable changed_;
  std::string text_;
  bool done_ = false;
  End end_ = End::failed;
  int64_t written_ = 0, reused_ = 0;
};

class Engine {
 public:
  /// At most `queue` jobs wait. Both outlive it.
  Engine(Session& session, const Tokenizer& tokenizer, size_t queue)
      : session_(session), tokenizer_(tokenizer), most_(queue) {}

  /// False when the queue is full or the engine has ended. The connection's thread and the
  /// computing one share the job: whichever lets go last frees it.
  bool submit(const std::shared_ptr<Job>& job);
  /// Computes until `stop` says so (asked at least every 100 ms and after each token); jobs left
  /// then are cancelled.
  void run(const std::function<bool()>& stop);

  int64_t context() const { return session_.context(); }
  size_t waiting() const;
  uint64_t jobs() const { return jobs_; }
  uint64_t tokens() const { return tokens_; }

 private:
  void work(Job& job, const std::function<bool()>& stop);

  Session& session_;
  const Tokenizer& tokenizer_;
  size_t most_;
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::shared_ptr<Job>> queue_;
  bool ended_ = false;
  std::atomic<uint64_t> jobs_{0}, tokens_{0};
};

}  // namespace isoflop
