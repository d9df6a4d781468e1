#include "launch/supervise/self_starter.hpp"

#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/supervise/child.hpp"
#include "launch/supervise/sockets.hpp"

#include <nlohmann/json.hpp>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>

namespace isoflop {

namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;
constexpr auto kEndPatience = std::chrono::seconds(10);  // of the others, once one has ended badly
constexpr size_t kLongestOrder = 1 << 20;

/// Whole lines of what a child says, with a tag in front.
class TaggedLines {
 public:
  TaggedLines(std::string tag, bool error) : tag_(std::move(tag)), error_(error) {}

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

/// A rank; or, without a number, a host's starter, whose lines have tags already.
struct Part {
  Part(const CommandLine& line, int rank)
      : child(line), out(tag(rank, "stdout"), false), err(tag(rank, "stderr"), true) {}
  Part(const CommandLine& line, const std::string& input)
      : child(line, input), out("", false), err("", true) {}
  static std::string tag(int rank, const char* stream) {
    return fmt::format("[1,{}]<{}>:", rank, stream);
  }
  void pass_on() {
    out.feed(child.take_out());
    err.feed(child.take_err());
  }
  Child child;
  TaggedLines out, err;
};
using Parts = std::vector<std::unique_ptr<Part>>;

/// Until all have ended: the exit code. `told`: our standard input ends when we should.
int look_after(const Parts& parts, bool told = false) {
  std::vector<pollfd> pipes = {{told ? STDIN_FILENO : -1, POLLIN, 0}};
  for (const auto& part : parts) {
    pipes.push_back({part->child.out(), POLLIN, 0});
    pipes.push_back({part->child.err(), POLLIN, 0});
  }
  int code = 0;
  Clock::time_point end = Clock::time_point::max();
  for (bool running = true; running;) {
    // A pipe whose writer is gone is always ready.
    if (::poll(pipes.data(), pipes.size(), 50) > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    if (char ignored; pipes[0].revents != 0 && ::read(STDIN_FILENO, &ignored, 1) <= 0)
      fail_io("what started the ranks on {} is gone, and so they end", own_host_name());
    running = false;
    for (const auto& part : parts) {
      const int ended = part->child.ended().value_or(-1);
      part->pass_on();
      running |= ended < 0;
      if (ended <= 0 || code != 0) continue;
      code = ended;
      end = Clock::now() + kEndPatience;
    }
    if (Clock::now() < end) continue;
    for (const auto& part : parts)
      if (!part->child.ended()) part->child.signal_group(SIGKILL);
  }
  for (const auto& part : parts) {
    part->out.finish();
    part->err.finish();
  }
  return code;
}

/// Neighbours, on one host.
struct RankShare {
  int first = 0, count = 0, all = 0;
};

Parts start(const RankShare& share, const std::vector<std::string>& program) {
  Parts parts;
  for (int i = 0; i < share.count; ++i)
    parts.push_back(
        std::make_unique<Part>(CommandLine{{{"RANK", std::to_string(share.first + i)},
                                            {"WORLD_SIZE", std::to_string(share.all)},
                                            {"LOCAL_RANK", std::to_string(i)},
                                            {"LOCAL_WORLD_SIZE", std::to_string(share.count)}},
                                           program},
                               share.first + i));
  return parts;
}

/// What start_ranks_on_hosts tells a host.
struct Order {
  RankShare share;
  std::string folder;
  std::vector<std::string> program;
  std::map<std::string, std::string> environment;

  std::string text() const {
    return Json{{"first", share.first}, {"count", share.count}, {"ranks", share.all},
                {"folder", folder},     {"program", program},   {"environment", environment}}
               .dump() +
           "\n";
  }
  /// Throws Json::exception.
  static Order parse(const std::string& text) {
    const Json json = Json::parse(text);
    return {{json.at("first"), json.at("count"), json.at("ranks")},
            json.at("folder"),
            json.at("program"),
            json.at("environment")};
  }
};

/// One line, byte for byte, so that the end of what comes behind it can be waited for.
std::string read_line() {
  std::string line;
  for (char next; line.size() < kLongestOrder && ::read(STDIN_FILENO, &next, 1) == 1;) {
    if (next == '\n') return line;
    line += next;
  }
  return "";
}

}  // namespace

int start_ranks_here(int ranks, const std::vector<std::string>& program) {
  return look_after(start({0, ranks, ranks}, program));
}

int start_ranks_on_hosts(const RankPlaces& placement,
                         const std::vector<std::string>& program,
                         const std::vector<std::string>& exports) {
  Order order = {{0, 0, placement.ranks}, fs::current_path().string(), program, {}};
  for (const std::string& name : exports)
    if (const char* const text = std::getenv(name.c_str())) order.environment[name] = text;
  Parts parts;
  for (const Host& host : placement.hosts) {
    order.share.first += order.share.count;
    order.share.count = std::min(host.slots, placement.ranks - order.share.first);
    if (order.share.count <= 0) break;
    const CommandLine line = {
        {}, words_on(placement, host.name, {program[0], "launch", "--start-told"})};
    try {
      parts.push_back(std::make_unique<Part>(line, order.text()));
    } catch (const Json::exception&) {
      fail_user("something on the command line is not UTF-8; use other names");
    }
  }
  return look_after(parts);
}

int start_ranks_as_told() {
  Order order;
  try {
    order = Order::parse(read_line());
  } catch (const Json::exception&) {
  }
  if (order.program.empty())
    fail_user(
        "standard input on {} does not say which ranks to start; a remote shell of isoflop launch "
        "must pass it on, as ssh does without -n",
        own_host_name());
  if (::chdir(order.folder.c_str()) != 0)
    fail_user("{} cannot enter {}, where isoflop launch was started; all hosts must see it",
              own_host_name(), order.folder);
  for (const auto& [name, value] : order.environment) ::setenv(name.c_str(), value.c_str(), 1);
  return look_after(start(order.share, order.program), true);
}

}  // namespace isoflop
