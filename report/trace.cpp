#include "report/trace.hpp"

#include <fmt/format.h>

#include <chrono>
#include <iterator>

namespace isoflop {

namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr const char* kRowNames[] = {"phases", "model", "operations"};

}  // namespace

Trace::Trace(size_t capacity) : origin_(steady_seconds()) {
  events_.reserve(capacity);
}

double Trace::now() const {
  return steady_seconds() - origin_;
}

void Trace::add(Row row, const char* name, double start, double end) {
  if (events_.size() == events_.capacity())
    ++left_out_;
  else
    events_.push_back({name, start, end, row});
}

void Trace::write(const fs::path& path) const {
  std::string json = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";
  const auto out = std::back_inserter(json);
  for (int row = 0; row < 3; ++row)
    fmt::format_to(out,
                   "{}\n{{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":{},\"args\":{{"
                   "\"name\":\"{}\"}}}}",
                   row ? "," : "", row, kRowNames[row]);
  for (const Event& event : events_)
    fmt::format_to(
        out,
        ",\n{{\"name\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f}}}",
        event.name, static_cast<int>(event.row), event.start * 1e6,
        (event.end - event.start) * 1e6);
  json += "\n]}\n";
  write_file_atomically(path, json);
}

}  // namespace isoflop
