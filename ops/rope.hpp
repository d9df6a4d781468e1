// Rotary position embedding (Su et al. 2021), in place on the first `rotary_dim` entries of each
// head. Angle of pair j at position p: p * base^(-2j/rotary_dim), from a table computed in double.
#pragma once
#include "core/view.hpp"

namespace isoflop {

/// Which entries form pair j: (2j, 2j+1) in llama, (j, j + rotary_dim/2) in pythia.
enum class RopePairs { interleaved, half_split };

struct Rope {
  View x;                      // (B*T, heads*hd): queries or keys
  View cos, sin;               // (positions, rotary_dim/2), state dtype
  int64_t tokens = 0;          // T: row r has position first_position + r % T
  int64_t first_position = 0;  // > 0 when decoding
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;
  RopePairs pairs = RopePairs::interleaved;
  bool inverse = false;  // rotate back: the backward, since a rotation's transpose is its inverse
};

}  // namespace isoflop
