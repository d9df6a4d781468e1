#include "report/timeline.hpp"

#include <fmt/format.h>

#include <iterator>
#include <set>

namespace isoflop {

void write_timeline(const fs::path& path,
                    const std::vector<std::string>& rows,
                    const std::vector<TimelineEvent>& events) {
  std::string json = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const auto out = std::back_inserter(json);
  std::set<int> ranks;
  for (const TimelineEvent& event : events) ranks.insert(event.rank);
  const char* comma = "";
  for (const int rank : ranks) {
    fmt::format_to(out,
                   "{}\n{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{},\"args\":{{\"name\":"
                   "\"rank {}\"}}}}",
                   comma, rank, rank);
    comma = ",";
    for (size_t row = 0; row < rows.size(); ++row)
      fmt::format_to(out,
                     ",\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":{},\"tid\":{},\"args\":{{"
                     "\"name\":\"{}\"}}}}",
                     rank, row, rows[row]);
  }
  for (const TimelineEvent& event : events)
    fmt::format_to(
        out,
        ",\n{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}}",
        event.name, event.rank, event.row, event.start * 1e6, (event.end - event.start) * 1e6);
  json += "\n]}\n";
  write_file_atomically(path, json);
}

}  // namespace isoflop
