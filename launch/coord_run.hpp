// The training behind a coordinate check: a few steps at a rate that rises (kCoordRamp), and before
// each a look at what every module computes on the same tokens.
#pragma once
#include "muP/coord_check.hpp"
#include "ops/backend.hpp"
#include "pretrain/train/train_step.hpp"

#include <cstdint>
#include <vector>

namespace isoflop {

struct CoordRun {
  const RunConfig& config;  // resolved
  const ParamTable& table;
  BatchPlan batch;
  SequenceSource source;
  uint64_t seed = 1;
  int64_t steps = 10;  // looks, the first before any update
  double size = 0;     // what rows are filed under
  /// Everything but the matrices that Muon updates stands still. Its updates are a small part of
  /// the movement while the embedding learns as fast as AdamW lets it: with all in motion a wrong
  /// power of the width in Muon's rate is hardly seen.
  bool muon_alone = false;
};

/// One row per module and step; what is not finite is an infinity there.
std::vector<CoordRow> run_coordinates(const CoordRun& run, Backend& backend);

}  // namespace isoflop
