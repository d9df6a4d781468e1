#include "cpu/compute_path.hpp"

#include <gtest/gtest.h>

namespace isoflop::test {
namespace {

using cpu::Bf16Kernel;

const ComputePath kFp32;
const ComputePath kPortable{DType::bf16, Bf16Kernel::portable};
const ComputePath kSpecial{DType::bf16, Bf16Kernel::avx512_bf16};

std::string chosen(const std::vector<PathRate>& rates) {
  return name_of(choose_path(rates).path);
}

TEST(ComputePath, Bf16IsTakenOnlyWhenClearlyFaster) {
  EXPECT_EQ(chosen({{kFp32, 100}, {kSpecial, 200}, {kPortable, 60}}), "bf16 avx512-bf16");
  EXPECT_EQ(chosen({{kFp32, 100}, {kSpecial, 119}, {kPortable, 60}}), "fp32");
  EXPECT_EQ(chosen({{kFp32, 100}, {kSpecial, 120}, {kPortable, 60}}), "bf16 avx512-bf16");
  // As on a processor whose bf16 instruction is slow.
  EXPECT_EQ(chosen({{kFp32, 100}, {kSpecial, 50}, {kPortable, 80}}), "fp32");
  EXPECT_EQ(chosen({{kFp32, 100}}), "fp32");
}

TEST(ComputePath, TheKernelOfBf16IsTheFasterOne) {
  EXPECT_EQ(chosen({{kSpecial, 200}, {kPortable, 60}}), "bf16 avx512-bf16");
  EXPECT_EQ(chosen({{kSpecial, 50}, {kPortable, 80}}), "bf16 portable");
  EXPECT_EQ(chosen({{kSpecial, 50}, {kPortable, 59}}), "bf16 avx512-bf16");
  EXPECT_EQ(chosen({{kPortable, 1}}), "bf16 portable");
}

TEST(ComputePath, TheReasonHasTheFigures) {
  const PathChoice fast = choose_path({{kFp32, 100}, {kSpecial, 200}, {kPortable, 60}});
  EXPECT_EQ(fast.reason, "2.00 times the rate of fp32");
  const PathChoice slow = choose_path({{kFp32, 100}, {kSpecial, 50}, {kPortable, 80}});
  EXPECT_EQ(slow.reason, "bf16 portable has 0.80 times its rate, and 1.2 are asked for");
}

TEST(ComputePath, EveryAvailableOneCanBeMeasured) {
  const std::vector<ComputePath> paths = available_paths();
  ASSERT_GE(paths.size(), 2u);
  EXPECT_EQ(paths.front(), kFp32);
  EXPECT_EQ(paths.back(), kPortable);
  for (const ComputePath& path : paths) {
    const PathRate rate = measure_path(path);
    EXPECT_EQ(rate.path, path);
    EXPECT_GT(rate.flops, 1e6) << name_of(path);  // a million a second: it ran at all
    EXPECT_LT(rate.flops, 1e15) << name_of(path);
  }
}

}  // namespace
}  // namespace isoflop::test
