// What the check before a launch found out, and the judgement of it. Pure: nothing here measures or
// talks.
#pragma once
#include "core/error.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <vector>

namespace isoflop {

/// One rank. Hashes are text so that they can be compared and shown; all ranks should have the
/// same.
struct RankReport {
  std::string host;
  std::string program, kernels, config, data;
  std::string trouble;                 // why config or data could not be read there
  double products = 0;                 // FLOP/s, median of the test
  double memory = 0;                   // bytes/s, likewise
  std::string product_bits, sum_bits;  // of results that are the same everywhere
  bool steady = true;                  // and were the same each time
};

/// Both directions at once between two ranks, as the trainer's messages go.
struct LinkReport {
  int a = 0, b = 0;
  double latency = 0;      // seconds, one way
  double bytes_per_s = 0;  // of each direction
  bool intact = true;      // what arrived is what was sent
};

struct CheckReport {
  std::vector<RankReport> ranks;
  std::vector<LinkReport> links;  // each pair once
  std::string together, alone;    // parameters after the ranks' steps, and after those of one rank
};

struct CheckFinding {
  enum class Kind {
    differs,  // another program, config, data or kernel
    slow,
    wrong,  // wrong bits
  };
  Kind kind = Kind::differs;
  std::vector<int> ranks;
  std::string text;
};

/// A rank or link below this part of the median is slow. Links of one host are compared with each
/// other, those between hosts likewise.
inline constexpr double kSlowRank = 0.8;
inline constexpr double kSlowLink = 0.5;

/// What is wrong, by rank. When ranks differ, those in the minority are named; of two, the second.
std::vector<CheckFinding> judge(const CheckReport& report);
/// Whether all ranks would do the same: nothing below it was tried where they would not.
bool alike(const CheckReport& report);

/// kDone; kIo when something computes or carries wrong bits, else kGate.
ExitCode code_of(const std::vector<CheckFinding>& findings);

nlohmann::ordered_json json_of(const CheckReport& report,
                               const std::vector<CheckFinding>& findings);
nlohmann::ordered_json json_of(const RankReport& rank);
RankReport rank_report_of(const nlohmann::ordered_json& json);

/// Lines for people.
std::vector<std::string> table_of(const CheckReport& report);

}  // namespace isoflop
