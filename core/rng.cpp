#include "core/rng.hpp"

#include <bit>
#include <cmath>
#include <numbers>

namespace isoflop {

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t counter) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

static double to_unit(uint32_t high, uint32_t low) {
  const uint64_t bits = (uint64_t{high} << 32 | low) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

double uniform01(uint64_t seed, uint64_t stream, uint64_t counter) {
  const auto word = philox(seed, stream, counter);
  return to_unit(word[0], word[1]);
}

double normal01(uint64_t seed, uint64_t stream, uint64_t counter) {
  const auto word = philox(seed, stream, counter);
  const double radius = std::sqrt(-2.0 * std::log(1.0 - to_unit(word[0], word[1])));
  return radius * std::cos(2.0 * std::numbers::pi * to_unit(word[2], word[3]));
}

uint64_t permute(uint64_t index, uint64_t size, uint64_t seed, uint64_t stream) {
  if (size < 2) return index;
  const int half_bits = (std::bit_width(size - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;
  do {
    uint64_t left = index >> half_bits, right = index & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const uint64_t mixed = philox(seed, stream + (round << 56), right)[0];
      const uint64_t next = left ^ (mixed & mask);
      left = right;
      right = next;
    }
    index = left << half_bits | right;
  } while (index >= size);
  return index;
}

}  // namespace isoflop
