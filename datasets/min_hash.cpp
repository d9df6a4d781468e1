#include "datasets/min_hash.hpp"

#include "core/hash.hpp"
#include "core/rng.hpp"

#include <algorithm>
#include <vector>

namespace isoflop {

namespace {

// Hash functions a * low + b * high over the halves of a 64-bit hash, a and b odd.
struct Multipliers {
  std::array<uint32_t, MinHash::kHashes> low, high;
  Multipliers() {
    for (size_t i = 0; i < low.size(); ++i) {
      const auto word = philox(0, 0, i);
      low[i] = word[0] | 1;
      high[i] = word[1] | 1;
    }
  }
};

void add_shingle(MinHash& sets, uint64_t hash) {
  static const Multipliers multipliers;
  const auto low = static_cast<uint32_t>(hash), high = static_cast<uint32_t>(hash >> 32);
  for (size_t i = 0; i < sets.smallest.size(); ++i) {
    const uint32_t value = multipliers.low[i] * low + multipliers.high[i] * high;
    sets.smallest[i] = std::min(sets.smallest[i], value);
  }
}

// The end of the word that starts at `at`, or `at` when none does; `lower` gets it in lower case.
size_t read_word(std::string_view text, size_t at, std::string& lower) {
  lower.clear();
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(at) >= 0xE0) {  // three or four bytes, as far as they are there
    size_t end = at + 1;
    while (end < text.size() && end < at + 4 && (byte(end) & 0xC0) == 0x80) ++end;
    lower = text.substr(at, end - at);
    return end;
  }
  for (; at < text.size() && byte(at) < 0xE0; ++at) {
    const char c = text[at];
    if (c >= 'A' && c <= 'Z')
      lower += static_cast<char>(c - 'A' + 'a');
    else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || byte(at) >= 0x80)
      lower += c;
    else
      break;
  }
  return at;
}

}  // namespace

void MinHash::add(std::string_view text) {
  std::array<uint64_t, kShingleWords> words = {};
  size_t count = 0;
  std::string word;
  for (size_t at = 0; at < text.size();) {
    const size_t end = read_word(text, at, word);
    if (end == at) {
      ++at;
      continue;
    }
    at = end;
    std::rotate(words.begin(), words.begin() + 1, words.end());
    words.back() = hash_text(word);
    if (++count >= words.size()) add_shingle(*this, hash_bytes(words.data(), sizeof(words)));
  }
  // Too few words for a shingle: all of them are one; without any the text itself is.
  if (count == 0) add_shingle(*this, hash_text(text));
  if (count > 0 && count < words.size())
    add_shingle(*this, hash_bytes(words.data(), sizeof(words)));
}

void MinHash::merge(const MinHash& other) {
  for (size_t i = 0; i < smallest.size(); ++i)
    smallest[i] = std::min(smallest[i], other.smallest[i]);
}

uint64_t MinHash::band(int index) const {
  return hash_bytes(smallest.data() + index * kBandRows, kBandRows * sizeof(uint32_t));
}

double MinHash::similarity(const MinHash& other) const {
  int same = 0;
  for (size_t i = 0; i < smallest.size(); ++i) same += smallest[i] == other.smallest[i];
  return same / static_cast<double>(kHashes);
}

}  // namespace isoflop
