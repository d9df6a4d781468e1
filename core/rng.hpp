// Counter-based random numbers: a value is a function of (seed, stream, counter), never of history.
//
// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once
#include <array>
#include <cstdint>

namespace isoflop {

/// Four independent 32-bit words for this (seed, stream, counter).
std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t counter);

/// What a random number is for; part of the stream so that two uses never share numbers.
enum class RngUse : uint32_t {
  init = 1,
  data_order = 2,
  sampling = 3,
  stochastic_rounding = 4,
  probe = 5,
  mixture = 6
};
inline uint64_t rng_stream(RngUse use, uint32_t index) {
  return uint64_t{static_cast<uint32_t>(use)} << 32 | index;
}

/// Uniform in [0, 1) with 53 bits.
double uniform01(uint64_t seed, uint64_t stream, uint64_t counter);
/// Standard normal by Box-Muller; element `counter` of the stream.
double normal01(uint64_t seed, uint64_t stream, uint64_t counter);

/// A bijection of [0, size) keyed by (seed, stream): a Feistel network of 6 rounds over the next
/// even power of two, walked until it lands inside. O(1) memory, so a shuffled epoch needs no
/// table.
uint64_t permute(uint64_t index, uint64_t size, uint64_t seed, uint64_t stream);

}  // namespace isoflop
