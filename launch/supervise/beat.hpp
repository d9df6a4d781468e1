// What a rank and its supervisor say to each other: lines of JSON over TCP, apart from MPI, so that
// they get through while MPI hangs.
//
//   rank        {"hello": KEY, "attempt": 2, "rank": 3, "host": "n2", "pid": 4711}   first
//               {"beat": ...}   several times per patience: phase, step, last message
//               {"end": 75, "text": "..."}   the code it is going to exit with, and why
//   supervisor  {"ok": true}   after every line      {"do": "stop"}      finish the step, save,
//   leave
//                                                    {"do": "stacks"}    print where you are
//   a host that is asked whether it can take part (before a start, and after a failure):
//               {"hello": KEY, "probe": 1, "host": "n2", "program": HASH, "cores": 64, ...}
//
// A connection that ends without "end" is a rank that died. A rank whose supervisor is gone, or has
// not answered for a while, ends itself: nobody is left behind on a host that was cut off.
#pragma once
#include "parallel/pulse.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

/// Where and as whom to report; travels in the environment variable ISOFLOP_SUPERVISOR.
struct SupervisorAddress {
  std::string key{};  // proves that the caller belongs to this launch
  int attempt = 1;
  double patience = 60;  // seconds, see watch.hpp
  int port = 0;
  std::vector<std::string> addresses{};  // of the supervisor's host, IPv4; any that answers will do

  std::string text() const;
  /// UserError for a text that text() did not make.
  static SupervisorAddress parse(const std::string& text);
};

constexpr const char* kSupervisorVariable = "ISOFLOP_SUPERVISOR";

struct Hello {
  std::string key;
  int attempt = 0;
  int rank = -1;   // of a rank
  int probe = -1;  // of a host: its index in the supervisor's list
  int pid = 0;
  int cores = 0;
  std::string host{}, program{};
  // Of a host: where it can be met, and a port that nothing listens on there.
  std::string address{};
  int port = 0;
};

struct Beat {
  std::string phase = "startup";
  double phase_seconds = 0;
  int64_t step = 0;
  uint64_t messages = 0;
  std::string last_message = "none";
  double wait_seconds = 0;
  int64_t steps = 0;
  double work_seconds = 0;
  std::map<std::string, double> longest;  // phase -> seconds
};

struct End {
  int code = 0;
  std::string text;
};

std::string line_of(const Hello& hello);
std::string line_of(const PulseReading& reading);
std::string line_of(const End& end);

/// One line from a rank; whatever is not understood leaves all three empty. Never throws.
struct RankLine {
  std::optional<Hello> hello;
  std::optional<Beat> beat;
  std::optional<End> end;
};
RankLine parse_rank_line(const std::string& line);

}  // namespace isoflop
