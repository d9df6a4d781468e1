// Rounding to blocks: every backend that does it gives the bits of the codecs.
#include "core/rng.hpp"
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "formats/block_rounding.hpp"
#include "tests/cuda/emulated_device.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

namespace isoflop::test {
namespace {

TEST(BlockRounding, EveryBackendGivesTheBitsOfTheCodec) {
  constexpr int64_t kRows = 70, kCols = 96;
  std::vector<float> from;
  for (uint64_t i = 0; i < kRows * kCols; ++i) {
    const int64_t row = static_cast<int64_t>(i) / kCols;
    double value = normal01(3, 1, i) * std::pow(10.0, static_cast<double>(row % 12) - 8);
    if (row == 13) value = i % 2 ? 0.0 : -0.0;
    if (row == 14) value = i % 3 ? 2.0 : -2.0;
    if (row == 15) value = 1e-40;
    if (row == 16) value = static_cast<double>(i % 32) + 0.5;
    from.push_back(static_cast<float>(value));
  }
  ThreadTeam team(2);
  const auto cpu = make_cpu_backend(team);
  const auto gpu = make_emulated_gpu();
  for (const BlockType type : {BlockType::q4_0, BlockType::q8_0, BlockType::f16})
    for (const float factor : {1.0f, 0.3f}) {
      std::vector<float> expected(from.size()), got(from.size());
      round_to_blocks(block_codec(type), from.data(), kRows, kCols, factor, expected.data());
      for (Backend* backend : {cpu.get(), gpu.get()}) {
        std::fill(got.begin(), got.end(), -1.0f);
        backend->round_to_blocks({.from = make_view(from.data(), kRows, kCols),
                                  .to = make_view(got.data(), kRows, kCols),
                                  .type = static_cast<uint32_t>(type),
                                  .factor = factor});
        for (size_t i = 0; i < got.size(); ++i)
          ASSERT_EQ(std::memcmp(&got[i], &expected[i], sizeof(float)), 0)
              << backend->description() << " " << block_codec(type).name << " " << i << ": "
              << got[i] << " for " << expected[i];
      }
    }
}

}  // namespace
}  // namespace isoflop::test
