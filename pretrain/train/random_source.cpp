#include "pretrain/train/random_source.hpp"

#include "core/rng.hpp"

namespace isoflop {

SequenceSource random_source(int64_t vocabulary, uint64_t seed) {
  ISOFLOP_CHECK(vocabulary > 0, "no tokens to draw from");
  return [vocabulary, seed](uint64_t sequence, std::span<int32_t> window) {
    const uint64_t stream = rng_stream(RngUse::probe, 0), first = sequence * window.size();
    for (size_t i = 0; i < window.size(); ++i)
      window[i] = static_cast<int32_t>(philox(seed, stream, first + i)[0] %
                                       static_cast<uint64_t>(vocabulary));
  };
}

}  // namespace isoflop
