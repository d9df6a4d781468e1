// MinHash: how alike two texts are, from 512 bytes of each.
//
// A text is the set of its shingles: every five words in a row (fewer where there are fewer). Words
// are runs of ASCII letters and digits, letters in lower case, and of two-byte UTF-8 characters;
// longer characters (Chinese, Japanese, Korean, ...) are words by themselves; everything else parts
// words. For each of 128 hash functions the signature keeps the smallest hash of a shingle; two
// sets with Jaccard similarity s agree in each place with probability s (Broder 1997, "On the
// resemblance and containment of documents").
//
// Bands (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4): 16 of 8 places. Texts
// that share a band are compared; two of similarity s share one with probability 1 - (1 - s^8)^16:
// 0.95 at 0.8, 0.9997 at 0.9, 0.06 at 0.5.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace isoflop {

struct MinHash {
  static constexpr int kHashes = 128;
  static constexpr int kBands = 16;
  static constexpr int kBandRows = kHashes / kBands;
  static constexpr int kShingleWords = 5;

  std::array<uint32_t, kHashes> smallest;

  MinHash() { smallest.fill(UINT32_MAX); }
  /// Adds the shingles of a text; a text may come in parts, whose borders no shingle crosses.
  void add(std::string_view text);
  void merge(const MinHash& other);
  uint64_t band(int index) const;
  /// Estimated Jaccard similarity; standard deviation sqrt(s (1 - s) / 128).
  double similarity(const MinHash& other) const;
};

}  // namespace isoflop
