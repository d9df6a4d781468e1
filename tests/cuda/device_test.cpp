// What a program says about the GPU of the machine it runs on, with or without CUDA inside.
#include "core/error.hpp"
#include "cuda/backend.hpp"

#include <gtest/gtest.h>

namespace isoflop::gpu {
namespace {

TEST(Device, ReportNamesTheProblemExactlyWhenThereIsNoDevice) {
  const DeviceReport report = find_devices();
  EXPECT_EQ(report.problem.empty(), report.devices > 0) << report.problem;
  EXPECT_EQ(report.built, !report.built_for.empty());
}

TEST(Device, AbsentIsTheUsersProblemAndSaysWhatToDo) {
  if (find_devices().devices > 0) GTEST_SKIP() << "there is a GPU here";
  try {
    make_gpu_backend();
    FAIL() << "made a backend without a device";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(find_devices().problem), std::string::npos);
  }
}

}  // namespace
}  // namespace isoflop::gpu
