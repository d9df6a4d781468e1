// Speed of the quantizers: bench_quantize THREADS [TYPE...]. One JSON line a type: millions of
// values per second of time passed, and of processor time, for matrices of 4,096 x 1,024 normal
// numbers, without and with an importance matrix. Best of five.
#include "core/error.hpp"
#include "core/rng.hpp"
#include "core/threads.hpp"
#include "formats/block_codec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <vector>

namespace isoflop {

namespace {

constexpr int64_t kRows = 4096, kCols = 1024, kTileRows = 32;
constexpr int kRepeats = 5;

struct Rate {
  double wall = 0, processor = 0;  // values per second
};

Rate measure(const BlockCodec& codec,
             const std::vector<float>& values,
             const float* importance,
             ThreadTeam& team) {
  std::vector<std::byte> blocks(static_cast<size_t>(codec.bytes_for(kRows * kCols)));
  const int64_t row_bytes = codec.bytes_for(kCols);
  Rate best;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t used = std::clock();
    team.run(kRows / kTileRows, [&](int64_t tile, int) {
      const int64_t first = tile * kTileRows;
      const float* x = values.data() + first * kCols;
      std::byte* out = blocks.data() + first * row_bytes;
      if (!importance) return codec.quantize(x, kTileRows * kCols, out);
      for (int64_t row = 0; row < kTileRows; ++row)
        codec.quantize_weighted(x + row * kCols, kCols, importance, out + row * row_bytes);
    });
    const double wall =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const double processor = static_cast<double>(std::clock() - used) / CLOCKS_PER_SEC;
    best.wall = std::max(best.wall, kRows * kCols / wall);
    best.processor = std::max(best.processor, kRows * kCols / std::max(processor, 1e-6));
  }
  return best;
}

void run(int threads, const std::vector<std::string_view>& types) {
  ThreadTeam team(threads);
  std::vector<float> values(kRows * kCols), importance(kCols);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(0.02 * normal01(1, 1, i));
  for (size_t i = 0; i < importance.size(); ++i)
    importance[i] = static_cast<float>(std::abs(normal01(1, 2, i)));
  for (const BlockCodec& codec : block_codecs()) {
    if (!codec.quantize || codec.block_elements == 1) continue;
    if (!types.empty() && std::find(types.begin(), types.end(), codec.name) == types.end())
      continue;
    for (const bool weighted : {false, true}) {
      if (weighted && !codec.quantize_weighted) continue;
      const Rate rate = measure(codec, values, weighted ? importance.data() : nullptr, team);
      fmt::print(R"({{"type": "{}", "weighted": {}, "threads": {}, "mvalues_per_s": {:.1f}, )"
                 R"("mvalues_per_processor_s": {:.1f}}})"
                 "\n",
                 codec.name, weighted, team.size(), rate.wall / 1e6, rate.processor / 1e6);
    }
  }
}

}  // namespace

}  // namespace isoflop

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "bench_quantize THREADS [TYPE...]\n");
    return 2;
  }
  try {
    isoflop::run(std::atoi(argv[1]), std::vector<std::string_view>(argv + 2, argv + argc));
  } catch (const isoflop::Error& error) {
    fmt::print(stderr, "bench_quantize: {}\n", error.what());
    return static_cast<int>(error.code());
  }
  return 0;
}
