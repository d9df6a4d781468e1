// The same products and the same sums over memory, again and again: how fast, and whether the bits
// stay.
#pragma once
#include "launch/bench_limits.hpp"
#include "launch/check/report.hpp"
#include "ops/backend.hpp"

namespace isoflop {

/// Fills in rates and bits of `report`. Runs for about `seconds`, a few rounds at least.
void stress(Backend& backend, const ProductShape& shape, double seconds, RankReport& report);

}  // namespace isoflop
