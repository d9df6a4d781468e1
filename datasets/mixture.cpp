#include "datasets/mixture.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"

#include <cmath>
#include <numeric>

namespace isoflop {

namespace {
__extension__ typedef unsigned __int128 Wide;
constexpr double kUnits = 4294967296.0;  // shares are held in parts of 2^32
}  // namespace

uint64_t Mixture::Node::left_of(uint64_t sequences) const {
  return static_cast<uint64_t>((Wide{sequences} * left_units + phase) / units);
}

Mixture::Mixture(const std::vector<double>& weights, uint64_t seed) {
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<uint64_t> units;
  for (const double weight : weights) {
    if (!(weight > 0) || !std::isfinite(sum) || weight / sum < 1e-6)
      fail_user(
          "a weight of {} among weights that add up to {}: each must be more than a millionth",
          weight, sum);
    shares_.push_back(weight / sum);
    units.push_back(static_cast<uint64_t>(std::llround(weight / sum * kUnits)));
  }
  ISOFLOP_CHECK(!weights.empty(), "a mixture of nothing");
  root_ = make_node(units, 0, static_cast<int>(units.size()), seed);
}

// The part of the tree over sources [first, last), cut where the halves weigh most alike.
int Mixture::make_node(const std::vector<uint64_t>& units, int first, int last, uint64_t seed) {
  if (last - first == 1) return ~first;
  const auto sum = [&](int from, int to) {
    return std::accumulate(units.begin() + from, units.begin() + to, uint64_t{0});
  };
  Node node;
  node.units = sum(first, last);
  node.first_right = first + 1;
  while (node.first_right + 1 < last &&
         sum(first, node.first_right + 1) + sum(first, node.first_right) < node.units)
    ++node.first_right;
  node.left_units = sum(first, node.first_right);
  node.left = make_node(units, first, node.first_right, seed);
  node.right = make_node(units, node.first_right, last, seed);
  const auto word = philox(seed, rng_stream(RngUse::mixture, 0), nodes_.size());
  node.phase = (uint64_t{word[0]} << 32 | word[1]) % node.units;
  nodes_.push_back(node);
  return static_cast<int>(nodes_.size()) - 1;
}

Mixture::Draw Mixture::draw(uint64_t sequence) const {
  int at = root_;
  while (at >= 0) {
    const Node& node = nodes_[static_cast<size_t>(at)];
    const uint64_t left = node.left_of(sequence);
    const bool goes_left = node.left_of(sequence + 1) > left;
    sequence = goes_left ? left : sequence - left;
    at = goes_left ? node.left : node.right;
  }
  return {~at, sequence};
}

uint64_t Mixture::count(int source, uint64_t sequences) const {
  int at = root_;
  while (at >= 0) {
    const Node& node = nodes_[static_cast<size_t>(at)];
    const uint64_t left = node.left_of(sequences);
    const bool goes_left = source < node.first_right;
    sequences = goes_left ? left : sequences - left;
    at = goes_left ? node.left : node.right;
  }
  return sequences;
}

}  // namespace isoflop
