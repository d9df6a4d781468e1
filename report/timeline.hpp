// Timeline: what one or several ranks did, or would do, and when, as a file that chrome://tracing
// and ui.perfetto.dev show: a process for every rank, a row for each kind of thing. Ranks describe
// their parts as text, which one of them writes.
#pragma once
#include "core/file.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct TimelineEvent {
  int rank = 0;
  int row = 0;  // index into the names
  std::string name;
  double start = 0, end = 0;  // seconds
};

/// Events of any ranks, in the words of Chrome's trace format. Those of a row do not overlap, but
/// may lie within each other.
std::string timeline_part(const std::vector<std::string>& rows,
                          const std::vector<TimelineEvent>& events);
/// The whole file. IoError.
void write_timeline(const fs::path& path, const std::vector<std::string>& parts);

}  // namespace isoflop
