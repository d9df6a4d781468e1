// Mixture: which source sequence i of a run comes from, as a pure function of (weights, seed, i)
// that takes no table and no history.
//
// The sources are the leaves of a binary tree. A node with left share a/b sends its n-th sequence
// to the left when floor((n a + p) / b) grows there, so of its first n sequences the left gets n a
// / b to within one, for any n; p < b depends on the seed. Errors shrink on the way down, so any
// run of consecutive sequences holds each source's share to within a few sequences.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace isoflop {

class Mixture {
 public:
  struct Draw {
    int source = 0;
    uint64_t index = 0;  // sequences of this source that came before
  };

  /// Positive weights, of any sum. UserError when one is not, or its share is below a millionth.
  Mixture(const std::vector<double>& weights, uint64_t seed);

  Draw draw(uint64_t sequence) const;
  /// How many of the first `sequences` come from `source`.
  uint64_t count(int source, uint64_t sequences) const;
  double share(int source) const { return shares_[static_cast<size_t>(source)]; }

 private:
  struct Node {
    uint64_t left_units = 0, units = 0, phase = 0;
    int left = 0, right = 0;  // a node, or ~source
    int first_right = 0;      // sources before it lie on the left
    uint64_t left_of(uint64_t sequences) const;
  };
  int make_node(const std::vector<uint64_t>& units, int first, int last, uint64_t seed);

  std::vector<double> shares_;
  std::vector<Node> nodes_;  // children before parents: the last is the root
  int root_ = 0;
};

}  // namespace isoflop
