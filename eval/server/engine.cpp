#include "eval/server/engine.hpp"

#include "eval/text_stream.hpp"

namespace isoflop {

bool Job::take(std::string& text, std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [&] { return done_ || !text_.empty(); });
  text = std::exchange(text_, {});
  return done_;
}

void Job::put(const std::string& text) {
  const std::scoped_lock lock(mutex_);
  text_ += text;
  changed_.notify_one();
}

void Job::finish(End end) {
  const std::scoped_lock lock(mutex_);
  end_ = end;
  done_ = true;
  changed_.notify_one();
}

bool Engine::submit(const std::shared_ptr<Job>& job) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(queue_, [](const auto& waiting) {
    const bool gone = waiting->cancelled_;
    if (gone) waiting->finish(Job::End::cancelled);
    return gone;
  });
  if (ended_ || queue_.size() >= most_) return false;
  queue_.push_back(job);
  arrived_.notify_one();
  return true;
}

size_t Engine::waiting() const {
  const std::scoped_lock lock(mutex_);
  return queue_.size();
}

void Engine::run(const std::function<bool()>& stop) {
  while (!stop()) {
    std::shared_ptr<Job> job;
    {
      std::unique_lock lock(mutex_);
      // A signal handler can wake nobody, so the flag is looked at now and then.
      arrived_.wait_for(lock, std::chrono::milliseconds(100), [&] { return !queue_.empty(); });
      if (queue_.empty()) continue;
      job = queue_.front();
      queue_.pop_front();
    }
    work(*job, stop);
  }
  const std::scoped_lock lock(mutex_);
  ended_ = true;
  for (const auto& job : queue_) job->finish(Job::End::cancelled);
  queue_.clear();
}

void Engine::work(Job& job, const std::function<bool()>& stop) {
  ++jobs_;
  TextStream stream(tokenizer_, job.stops);
  bool first = true;
  const auto ends = [&] { return stop() || job.given_up(); };
  try {
    const Generated written = generate(
        session_, job.prompt, job.generate,
        [&](int32_t id) {
          if (std::exchange(first, false)) job.reused_ = session_.reused();
          ++job.written_;
          ++tokens_;
          job.put(stream.push(id));
          return !stream.stopped() && !ends();
        },
        ends);
    job.put(stream.finish());
    const bool stopped = written.ending == Ending::stop_token || stream.stopped();
    const bool given_up = written.ending == Ending::caller && !stopped;
    job.finish(stopped                    ? Job::End::stop
               : !given_up                ? Job::End::length
               : stop() || job.cancelled_ ? Job::End::cancelled
                                          : Job::End::time);
  } catch (const std::exception&) {  // of this text alone; others are still served
    job.finish(Job::End::failed);
  }
}

}  // namespace isoflop
