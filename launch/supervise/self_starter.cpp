#include "launch/supervise/self_starter.hpp"

#include "launch/context.hpp"
#include "launch/supervise/child.hpp"

#include <poll.h>
#include <signal.h>

#include <chrono>
#include <memory>
#include <thread>

namespace isoflop {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kEndPatience = std::chrono::seconds(10);  // of the others, once one has ended badly

/// The lines of one rank's standard output or error.
class TaggedLines {
 public:
  TaggedLines(int rank, bool error)
      : tag_(fmt::format("[1,{}]<{}>:", rank, error ? "stderr" : "stdout")), error_(error) {}

  void feed(const std::string& piece) {
    pending_ += piece;
    std::string text;
    size_t begin = 0;
    for (size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1)
      text += tag_ + pending_.substr(begin, end + 1 - begin);
    pending_.erase(0, begin);
    if (!text.empty()) error_ ? write_stderr(text) : write_stdout(text);
  }
  void finish() {
    if (!pending_.empty()) feed("\n");
  }

 private:
  std::string tag_, pending_;
  bool error_;
};

struct Rank {
  Rank(int rank, const CommandLine& line) : child(line), out(rank, false), err(rank, true) {}
  void pass_on() {
    out.feed(child.take_out());
    err.feed(child.take_err());
  }
  Child child;
  TaggedLines out, err;
};

}  // namespace

int start_ranks_here(int ranks, const std::vector<std::string>& program) {
  std::vector<std::unique_ptr<Rank>> all;
  std::vector<pollfd> pipes;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::string number = std::to_string(rank), size = std::to_string(ranks);
    all.push_back(std::make_unique<Rank>(rank, CommandLine{{{"RANK", number},
                                                            {"WORLD_SIZE", size},
                                                            {"LOCAL_RANK", number},
                                                            {"LOCAL_WORLD_SIZE", size}},
                                                           program}));
    pipes.push_back({all.back()->child.out(), POLLIN, 0});
    pipes.push_back({all.back()->child.err(), POLLIN, 0});
  }
  int code = 0;
  Clock::time_point end = Clock::time_point::max();
  for (bool running = true; running;) {
    // A pipe whose writer is gone is always ready.
    if (::poll(pipes.data(), pipes.size(), 50) > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    running = false;
    for (const auto& rank : all) {
      const int ended = rank->child.ended().value_or(-1);
      rank->pass_on();
      running |= ended < 0;
      if (ended <= 0 || code != 0) continue;
      code = ended;
      end = Clock::now() + kEndPatience;
    }
    if (Clock::now() < end) continue;
    for (const auto& rank : all)
      if (!rank->child.ended()) rank->child.signal_group(SIGKILL);
  }
  for (const auto& rank : all) {
    rank->out.finish();
    rank->err.finish();
  }
  return code;
}

}  // namespace isoflop
