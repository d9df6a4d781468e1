#include "report/tensorboard.hpp"

#include "report/crc32c.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace isoflop {
namespace {

// RFC 3720 B.4 and the usual check string.
TEST(Crc32c, KnownVectors) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
}

class TensorBoardTest : public testing::Test {
 protected:
  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) found.push_back(entry.path());
    std::sort(found.begin(), found.end());
    return found;
  }
  test::TempDir folder_;
};

TEST_F(TensorBoardTest, RecordsAreFramedWithTheirChecksums) {
  {
    TensorBoardWriter writer(folder_.path());
    const Metric metrics[] = {{"train/loss", 3.5}};
    ASSERT_TRUE(writer.scalars(1, metrics));
    ASSERT_TRUE(writer.text(1, "sample", "once upon"));
  }
  ASSERT_EQ(files().size(), 1u);
  const std::string bytes = read_file(files()[0]);
  std::vector<std::string> payloads;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length = 0;
    uint32_t length_crc = 0, payload_crc = 0;
    ASSERT_LE(at + 12, bytes.size());
    std::memcpy(&length, &bytes[at], 8);
    std::memcpy(&length_crc, &bytes[at + 8], 4);
    EXPECT_EQ(length_crc, masked_crc32c(bytes.substr(at, 8)));
    ASSERT_LE(at + 12 + length + 4, bytes.size());
    payloads.push_back(bytes.substr(at + 12, length));
    std::memcpy(&payload_crc, &bytes[at + 12 + length], 4);
    EXPECT_EQ(payload_crc, masked_crc32c(payloads.back()));
    at += 16 + length;
  }
  ASSERT_EQ(payloads.size(), 4u);  // version, session start, scalars, text
  EXPECT_NE(payloads[0].find("brain.Event:2"), std::string::npos);
  EXPECT_NE(payloads[2].find("train/loss"), std::string::npos);
  EXPECT_NE(payloads[3].find("once upon"), std::string::npos);
}

TEST_F(TensorBoardTest, TwoStartsWithinASecondKeepTheirOrder) {
  const TensorBoardWriter first(folder_.path());
  const std::vector<fs::path> before = files();
  const TensorBoardWriter second(folder_.path());
  ASSERT_EQ(files().size(), 2u);
  EXPECT_EQ(files()[0], before[0]);
}

/// TensorBoard itself is the judge, where a Python that has it is around.
TEST_F(TensorBoardTest, TensorBoardReadsEveryPointAndForgetsTheCutOffOnes) {
  const char* named = std::getenv("ISOFLOP_TEST_PYTHON");
  const std::string python = named ? named : "python3";
  if (std::system((python + " -c 'import tensorboard' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no tensorboard; set ISOFLOP_TEST_PYTHON to one that has";
  const auto log = [](TensorBoardWriter& writer, int step, double loss) {
    const Metric metrics[] = {{"train/loss", loss}, {"optim/lr", 0.5}};
    ASSERT_TRUE(writer.scalars(step, metrics));
  };
  {
    TensorBoardWriter cut(folder_.path());
    for (int step = 1; step <= 10; ++step) log(cut, step, 100 + step);
    ASSERT_TRUE(cut.text(3, "sample", "once"));
    ASSERT_TRUE(cut.text(9, "sample", "never"));
  }
  {
    TensorBoardWriter resumed(folder_.path(), 6);
    for (int step = 7; step <= 8; ++step) log(resumed, step, 200 + step);
  }
  const fs::path script = folder_.path() / "judge.py";
  const fs::path answer = folder_.path() / "answer.txt";
  std::ofstream(script) << R"(
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing import plugin_event_accumulator
events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "tensors": 0})
events.Reload()
viewer = plugin_event_accumulator.EventAccumulator(sys.argv[1])
viewer.Reload()
for point in events.Scalars("train/loss"):
    print(point.step, point.value)
print(len(events.Scalars("optim/lr")))
print(viewer.SummaryMetadata("sample").plugin_data.plugin_name)
for point in viewer.Tensors("sample"):
    print(point.step, point.tensor_proto.string_val[0].decode())
)";
  const std::string command = python + " " + script.string() + " " + folder_.path().string() +
                              " > " + answer.string() + " 2> " + answer.string() + ".log";
  ASSERT_EQ(std::system(command.c_str()), 0) << read_file(answer.string() + ".log");
  EXPECT_EQ(
      read_file(answer),
      "1 101.0\n2 102.0\n3 103.0\n4 104.0\n5 105.0\n6 106.0\n7 207.0\n8 208.0\n8\ntext\n3 once\n");
}

}  // namespace
}  // namespace isoflop
