#include "report/timeline.hpp"

#include <fmt/format.h>

#include <iterator>
#include <set>

namespace isoflop {

std::string timeline_part(const std::vector<std::string>& rows,
                          const std::vector<TimelineEvent>& events) {
  std::string json;
  const auto out = std::back_inserter(json);
  std::set<int> ranks;
  for (const TimelineEvent& event : events) ranks.insert(event.rank);
  for (const int rank : ranks) {
    fmt::format_to(out,
                   "{}\n{{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":{},\"args\":{{\"name\":"
                   "\"rank {}\"}}}}",
                   json.empty() ? "" : ",", rank, rank);
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
  return json;
}

void write_timeline(const fs::path& path, const std::vector<std::string>& parts) {
  std::string json = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  bool any = false;
  for (const std::string& part : parts) {
    if (part.empty()) continue;
    if (any) json += ",";
    json += part;
    any = true;
  }
  json += "\n]}\n";
  write_file_atomically(path, json);
}

}  // namespace isoflop
