// What can be seen of NCCL without a device: the library is found, groups get their ids, and
// joining one fails with words. The rest is communicator_test.cpp's, where there are devices.
#include "parallel/nccl.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

class NcclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (nccl_version().rfind("NCCL ", 0) != 0) GTEST_SKIP() << "skipped: NCCL " << nccl_version();
  }
};

TEST_F(NcclTest, MakesIdsThatDiffer) {
  const std::string a = nccl_group_id(), b = nccl_group_id();
  EXPECT_EQ(a.size(), 128u);
  EXPECT_NE(a, b);
}

TEST_F(NcclTest, RefusesWhatIsNoId) {
  EXPECT_THROW(make_nccl("short", 0, 1, std::chrono::seconds(1)), UserError);
}

TEST_F(NcclTest, JoiningFailsWithWordsWhereThereIsNoDevice) {
  if (nccl_devices() > 0) GTEST_SKIP() << "skipped: there is a device";
  try {
    make_nccl(nccl_group_id(), 0, 1, std::chrono::seconds(30));
    FAIL() << "joined a group without a device";
  } catch (const IoError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("rank 0 of 1: joining the group by NCCL failed: "), std::string::npos)
        << text;
    EXPECT_NE(text.find("cuda"), std::string::npos) << text;
  }
}

TEST(Nccl, SaysThatItIsOff) {
  if (nccl_version() != "off") GTEST_SKIP() << "skipped: " << nccl_version();
  EXPECT_EQ(nccl_devices(), 0);
  EXPECT_THROW(nccl_group_id(), UserError);
}

}  // namespace
}  // namespace isoflop
