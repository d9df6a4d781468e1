#include "report/timeline.hpp"

#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <vector>

namespace isoflop {
namespace {

TEST(Timeline, IsChromesTraceFormat) {
  const test::TempDir folder;
  const fs::path file = folder.path() / "steps.json";
  const std::vector<std::string> rows = {"compute", "wire"};
  write_timeline(file, {timeline_part(rows, {{0, 0, "F0", 0, 0.5}}), timeline_part(rows, {}),
                        timeline_part(rows, {{3, 1, "bucket 2", 0.25, 1}})});
  const auto json = nlohmann::json::parse(read_file(file));
  std::vector<std::string> processes, spans;
  for (const auto& event : json["traceEvents"]) {
    if (event["name"] == "process_name") processes.push_back(event["args"]["name"]);
    if (event["ph"] == "X") spans.push_back(event["name"]);
  }
  EXPECT_EQ(processes, (std::vector<std::string>{"rank 0", "rank 3"}));
  EXPECT_EQ(spans, (std::vector<std::string>{"F0", "bucket 2"}));
  const auto& last = json["traceEvents"].back();
  EXPECT_EQ(last["pid"], 3);
  EXPECT_EQ(last["tid"], 1);
  EXPECT_EQ(last["ts"], 250000.0);  // microseconds
  EXPECT_EQ(last["dur"], 750000.0);
}

}  // namespace
}  // namespace isoflop
