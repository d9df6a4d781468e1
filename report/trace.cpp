#include "report/trace.hpp"

#include <chrono>

namespace isoflop {

namespace {

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

const std::vector<std::string> Trace::kRows = {"phases", "model", "operations"};

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

std::vector<TimelineEvent> Trace::timeline(int rank) const {
  std::vector<TimelineEvent> list;
  list.reserve(events_.size());
  for (const Event& event : events_)
    list.push_back({rank, static_cast<int>(event.row), event.name, event.start, event.end});
  return list;
}

}  // namespace isoflop
