// Timeline: what several ranks did, or would do, and when, as a file that chrome://tracing and
// ui.perfetto.dev show: a process for every rank, a row for each kind of thing. For one process
// that records while it runs: trace.hpp.
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

/// The JSON object of Chrome's trace format. IoError.
void write_timeline(const fs::path& path,
                    const std::vector<std::string>& rows,
                    const std::vector<TimelineEvent>& events);

}  // namespace isoflop
