// What a model must beat to have learned anything: a general compressor, and counting.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace isoflop {

/// Bits per byte of `text` compressed on its own as `xz -9` does it.
double xz_bits_per_byte(std::string_view text);

/// Bytes given the two before, interpolated with shorter contexts by the number of distinct
/// successors (Witten & Bell 1991, method C). 64 MB of counts.
class ByteTrigram {
 public:
  ByteTrigram();
  void train(std::string_view text);
  /// Bits per byte; the first two bytes are scored with the shorter contexts they have.
  double bits_per_byte(std::string_view text) const;

 private:
  double probability(uint32_t before, uint32_t last, uint32_t next, size_t context) const;

  std::vector<uint32_t> three_, two_, one_;           // counts of abc, bc, c
  mutable std::vector<uint32_t> context_, distinct_;  // per ab: occurrences, distinct successors
  mutable bool summed_ = false;
  void sum() const;
};

}  // namespace isoflop
