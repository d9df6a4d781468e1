// Every pair of ranks talks: whether what is sent arrives, how soon, and how fast.
#pragma once
#include "launch/check/report.hpp"
#include "parallel/communicator.hpp"

#include <utility>
#include <vector>

namespace isoflop {

/// Every pair of `ranks` once, in rounds within which nobody is in two pairs. Up to
/// kRanksOneByOne ranks a round is one pair, so that nothing disturbs it; then as many as can be.
std::vector<std::vector<std::pair<int, int>>> pair_rounds(int ranks);
inline constexpr int kRanksOneByOne = 8;

/// Collective; all links at every rank.
std::vector<LinkReport> measure_links(Communicator& ranks);

}  // namespace isoflop
