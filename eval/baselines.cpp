#include "eval/baselines.hpp"

#include "core/error.hpp"

#include <lzma.h>

#include <cmath>

namespace isoflop {

double xz_bits_per_byte(std::string_view text) {
  if (text.empty()) return 0;
  std::vector<uint8_t> out(lzma_stream_buffer_bound(text.size()));
  size_t size = 0;
  const lzma_ret result = lzma_easy_buffer_encode(9, LZMA_CHECK_CRC64, nullptr,
                                                  reinterpret_cast<const uint8_t*>(text.data()),
                                                  text.size(), out.data(), &size, out.size());
  if (result != LZMA_OK)
    fail_io("xz could not compress {} bytes (code {})", text.size(), static_cast<int>(result));
  return 8.0 * static_cast<double>(size) / static_cast<double>(text.size());
}

namespace {
size_t pair_index(uint32_t a, uint32_t b) {
  return size_t{a} << 8 | b;
}
size_t triple_index(uint32_t a, uint32_t b, uint32_t c) {
  return size_t{a} << 16 | size_t{b} << 8 | c;
}
uint32_t byte_at(std::string_view text, size_t i) {
  return static_cast<unsigned char>(text[i]);
}

/// The sums and distinct successors of every row of 256 counts.
void sum_rows(const std::vector<uint32_t>& counts,
              std::vector<uint32_t>& total,
              std::vector<uint32_t>& distinct) {
  for (size_t row = 0; row < counts.size() / 256; ++row) {
    uint32_t sum = 0, kinds = 0;
    for (size_t c = 0; c < 256; ++c) {
      sum += counts[row * 256 + c];
      kinds += counts[row * 256 + c] > 0;
    }
    total.push_back(sum);
    distinct.push_back(kinds);
  }
}
}  // namespace

ByteTrigram::ByteTrigram() : three_(size_t{1} << 24), two_(1 << 16), one_(256) {}

void ByteTrigram::train(std::string_view text) {
  summed_ = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const uint32_t c = byte_at(text, i);
    ++one_[c];
    if (i >= 1) ++two_[pair_index(byte_at(text, i - 1), c)];
    if (i >= 2) ++three_[triple_index(byte_at(text, i - 2), byte_at(text, i - 1), c)];
  }
}

// Rows of all orders behind each other: 1 without context, 256 with one byte, 65,536 with two.
void ByteTrigram::sum() const {
  if (summed_) return;
  context_.clear();
  distinct_.clear();
  sum_rows(one_, context_, distinct_);
  sum_rows(two_, context_, distinct_);
  sum_rows(three_, context_, distinct_);
  summed_ = true;
}

double ByteTrigram::probability(uint32_t before,
                                uint32_t last,
                                uint32_t next,
                                size_t context) const {
  const auto mix = [&](size_t row, uint32_t count, double shorter) {
    const double seen = context_[row], kinds = distinct_[row];
    return seen > 0 ? (count + kinds * shorter) / (seen + kinds) : shorter;
  };
  double p = mix(0, one_[next], 1.0 / 256);
  if (context >= 1) p = mix(1 + last, two_[pair_index(last, next)], p);
  if (context >= 2)
    p = mix(257 + pair_index(before, last), three_[triple_index(before, last, next)], p);
  return p;
}

double ByteTrigram::bits_per_byte(std::string_view text) const {
  if (text.empty()) return 0;
  sum();
  double bits = 0;
  for (size_t i = 0; i < text.size(); ++i)
    bits -= std::log2(probability(i >= 2 ? byte_at(text, i - 2) : 0,
                                  i >= 1 ? byte_at(text, i - 1) : 0, byte_at(text, i), i));
  return bits / static_cast<double>(text.size());
}

}  // namespace isoflop
