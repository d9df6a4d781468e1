// Token (and learned position) embedding: y = scale * (table[token] + positions[position]).
#pragma once
#include "core/view.hpp"
#include "ops/matmul.hpp"

#include <span>

namespace isoflop {

struct EmbeddingForward {
  std::span<const int32_t> tokens;  // N = B*T, each in [0, V)
  WeightRef table;                  // (V, D)
  WeightRef positions;              // (context, D), or handle null when absent
  View y;                           // (N, D)
  double scale = 1;
  int64_t sequence = 0;        // T: row r has position first_position + r % T
  int64_t first_position = 0;  // > 0 when decoding
};
/// Sums in row order for each table row, whatever the threads.
struct EmbeddingBackward {
  View dy;  // (N, D)
  std::span<const int32_t> tokens;
  View dtable;      // (V, D) +=, state dtype
  View dpositions;  // (context, D) += or absent, state dtype
  double scale = 1;
  int64_t sequence = 0;
};

}  // namespace isoflop
