// Whether cuDNN takes our graphs of attention on an H200 that is not there. Numbers and speed are
// for a GPU (OpParity, where one is).
#include "core/error.hpp"
#include "cuda/cudnn_asked.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <iostream>

namespace isoflop::gpu {
namespace {

constexpr int kSkip = 77;
constexpr const char* kHopper = R"({"deviceName": "NVIDIA H200", "deviceVer": 900,
  "maxGridSize": [2147483647, 65535, 65535], "maxBlockSize": [1024, 1024, 64],
  "regsPerBlock": 65536, "multiProcessorCount": 132, "warpSize": 32,
  "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448,
  "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0,
  "supportCoopLaunch": 1, "totalGlobalMem": 150000000000, "smClockRateKHz": 1980000,
  "memClockRateKHz": 3201000, "l2CacheSize": 52428800, "cudaDeviceId": 0, "driverVer": 13000})";

struct Asked {
  bool taken;
  int64_t batch, length, heads, kv_heads, head_dim;
};
constexpr Asked kAsked[] = {{true, 16, 1024, 12, 12, 64},  // gpt3-125m
                            {true, 8, 2048, 16, 16, 128},  // gpt3-1.3b
                            {true, 4, 2048, 32, 32, 80},   // gpt3-2.7b
                            {true, 1, 8192, 32, 8, 128},   // llama3-8b
                            {true, 2, 1000, 6, 2, 96},     // fills no tile
                            {true, 1, 512, 4, 1, 256},
                            {false, 2, 1024, 4, 4, 36}};  // heads that do not start at 16 bytes

/// How many shapes it takes that it should not, or the other way round.
int look() {
  int wrong = 0;
  for (const Asked& a : kAsked) {
    AttentionShape shape;
    shape.batch = a.batch, shape.queries = shape.keys = a.length;
    shape.heads = a.heads, shape.kv_heads = a.kv_heads, shape.head_dim = a.head_dim;
    const CudnnTakes takes = ask_cudnn(shape, kHopper);
    if (takes.forward == a.taken && takes.backward == a.taken) continue;
    ++wrong;
    std::cerr << a.batch << " x " << a.length << ", " << a.heads << "/" << a.kv_heads
              << " heads of " << a.head_dim << ": forward " << takes.forward << ", backward "
              << takes.backward << "\n";
  }
  return wrong;
}

// In a process of its own: the stand-in for a driver that it may load would be there for the other
// tests, too.
TEST(Cudnn, TakesTheGraphsOfAttentionOnHopper) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      status = look();
    } catch (const UserError& error) {
      std::cerr << error.what() << "\n";
      status = kSkip;
    } catch (const std::exception& error) {
      std::cerr << error.what() << "\n";
    }
    ::_exit(status);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == kSkip) GTEST_SKIP() << "no cuDNN to ask; see above";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace isoflop::gpu
