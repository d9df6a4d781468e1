#include "report/trace.hpp"

#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

using TraceFile = FolderTest;

TEST_F(TraceFile, HoldsCompleteEventsThatNest) {
  Trace trace(3);
  {
    const Trace::Span outer(&trace, "step");
    const Trace::Span inner(&trace, "data");
  }
  trace.add(Trace::Row::operations, "matmul", 1, 1.5);
  trace.add(Trace::Row::operations, "matmul", 2, 2.5);  // no room
  const Trace::Span nowhere(nullptr, "costs nothing");
  EXPECT_EQ(trace.events(), 3u);
  EXPECT_EQ(trace.left_out(), 1u);
  write_timeline(path("trace.json"), {timeline_part(Trace::kRows, trace.timeline(0))});

  const auto json = nlohmann::json::parse(read_file(path("trace.json")));
  std::map<std::string, nlohmann::json> events;
  for (const auto& event : json.at("traceEvents"))
    if (event.at("ph") == "X") events[event.at("name")] = event;
  ASSERT_EQ(events.size(), 3u);
  const auto start = [&](const char* name) { return events[name]["ts"].get<double>(); };
  const auto end = [&](const char* name) {
    return start(name) + events[name]["dur"].get<double>();
  };
  EXPECT_LE(start("step"), start("data"));
  // Times are written to a nanosecond.
  EXPECT_LE(end("data"), end("step") + 0.002);
  EXPECT_EQ(events["matmul"]["ts"], 1e6);
  EXPECT_EQ(events["matmul"]["dur"], 5e5);
  EXPECT_NE(events["matmul"]["tid"], events["step"]["tid"]);
}

}  // namespace
}  // namespace isoflop
