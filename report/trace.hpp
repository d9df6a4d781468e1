// Trace: what a rank spent its time on, for timeline.hpp. Events go into memory set aside at the
// start; when it is full, later ones are left out and counted. One thread records.
#pragma once
#include "report/timeline.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

class Trace {
 public:
  /// Rows of the picture.
  enum class Row : uint8_t { phases, model, operations };
  static const std::vector<std::string> kRows;

  /// Room for `capacity` events of 32 bytes.
  explicit Trace(size_t capacity = size_t{1} << 20);

  /// Seconds since the trace began.
  double now() const;
  /// Seconds of the steady clock when it began.
  double origin() const { return origin_; }
  /// `name` is borrowed for ever: a literal.
  void add(Row row, const char* name, double start, double end);

  size_t events() const { return events_.size(); }
  size_t left_out() const { return left_out_; }
  std::vector<TimelineEvent> timeline(int rank) const;

  /// From its making to its end; nothing when there is no trace.
  class Span {
   public:
    Span(Trace* trace, const char* name, Row row = Row::phases)
        : trace_(trace), name_(name), row_(row), start_(trace ? trace->now() : 0) {}
    ~Span() {
      if (trace_) trace_->add(row_, name_, start_, trace_->now());
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

   private:
    Trace* trace_;
    const char* name_;
    Row row_;
    double start_;
  };

 private:
  struct Event {
    const char* name;
    double start, end;
    Row row;
  };
  double origin_;
  std::vector<Event> events_;
  size_t left_out_ = 0;
};

}  // namespace isoflop
