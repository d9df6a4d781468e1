#include "core/sha256.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace isoflop {

namespace {

/// The first 32 bits of the fractions of the cube roots of the first 64 primes (section 4.2.2): the
/// low 32 bits of the integer cube roots of prime * 2^96.
std::array<uint32_t, 64> make_constants() {
  std::array<uint32_t, 64> constants = {};
  size_t found = 0;
  for (int n = 2; found < constants.size(); ++n) {
    bool prime = true;
    for (int d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
    if (!prime) continue;
    __extension__ using Wide = unsigned __int128;
    uint64_t low = 0, high = uint64_t{7} << 32;
    while (high - low > 1) {
      const uint64_t middle = low + (high - low) / 2;
      // middle < 2^35: its square has 70 bits and its cube 105.
      const Wide cube = Wide{middle} * middle * middle;
      (cube <= Wide{static_cast<unsigned>(n)} << 96 ? low : high) = middle;
    }
    constants[found++] = static_cast<uint32_t>(low);
  }
  return constants;
}

}  // namespace

void Sha256::compress(const uint8_t* block) {
  static const std::array<uint32_t, 64> kConstants = make_constants();
  std::array<uint32_t, 64> w;
  for (size_t i = 0; i < 16; ++i)
    w[i] = uint32_t{block[4 * i]} << 24 | uint32_t{block[4 * i + 1]} << 16 |
           uint32_t{block[4 * i + 2]} << 8 | uint32_t{block[4 * i + 3]};
  for (size_t i = 16; i < 64; ++i) {
    const uint32_t x = w[i - 15], y = w[i - 2];
    w[i] = w[i - 16] + (std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3) + w[i - 7] +
           (std::rotr(y, 17) ^ std::rotr(y, 19) ^ y >> 10);
  }
  auto [a, b, c, d, e, f, g, h] = state_;
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                        ((e & f) ^ (~e & g)) + kConstants[i] + w[i];
    const uint32_t t2 =
        (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  const std::array<uint32_t, 8> add = {a, b, c, d, e, f, g, h};
  for (size_t i = 0; i < add.size(); ++i) state_[i] += add[i];
}

void Sha256::update(const void* data, size_t bytes) {
  const auto* in = static_cast<const uint8_t*>(data);
  bytes_ += bytes;
  while (bytes > 0) {
    if (held_ == 0 && bytes >= block_.size()) {
      compress(in);
      in += block_.size(), bytes -= block_.size();
      continue;
    }
    const size_t take = std::min(bytes, block_.size() - held_);
    std::memcpy(block_.data() + held_, in, take);
    in += take, bytes -= take, held_ += take;
    if (held_ < block_.size()) continue;
    compress(block_.data());
    held_ = 0;
  }
}

std::string Sha256::finish() {
  const uint64_t bits = bytes_ * 8;
  const uint8_t one = 0x80, zero = 0;
  update(&one, 1);
  while (held_ != 56) update(&zero, 1);
  std::array<uint8_t, 8> length;
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(bits >> (56 - 8 * i));
  update(length.data(), length.size());
  std::string text;
  for (const uint32_t word : state_) text += fmt::format("{:08x}", word);
  return text;
}

std::string sha256_text(std::string_view text) {
  Sha256 hash;
  hash.update(text.data(), text.size());
  return hash.finish();
}

std::string sha256_file(const fs::path& path) {
  const MappedFile file(path);
  return sha256_text(file.text());
}

}  // namespace isoflop
