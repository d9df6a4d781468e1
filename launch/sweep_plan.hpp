// What a sweep tries: the values of its keys, as a grid or drawn, for every model and seed.
#pragma once
#include "launch/sweep_table.hpp"
#include "pretrain/config/load.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

/// KEY=LOW:HIGH[:FACTOR] or KEY=A,B,C.
struct SweepAxis {
  std::string key;
  bool integer = false;
  std::vector<double> values;  // of the list, or of the range at steps of FACTOR (default 2)
  bool is_range = false;
  double low = 0, high = 0;
};
/// UserError: no such key (with the nearest), one without numbers, one that training does not
/// depend on, or values that are none.
SweepAxis parse_axis(const std::string& text);

/// Settings of all axes: their product, or `count` drawn (log-uniformly from ranges, evenly from
/// lists), the same ones for the same seed.
std::vector<std::vector<std::string>> grid_settings(const std::vector<SweepAxis>& axes);
std::vector<std::vector<std::string>> random_settings(const std::vector<SweepAxis>& axes,
                                                      int64_t count,
                                                      uint64_t seed);

/// One trial: its row without outcome, and how its config differs from the base's.
struct Trial {
  SweepRow row;
  std::vector<std::string> changes;  // key=value
};

/// What all trials share.
struct SweepBase {
  RunConfig config;  // as loaded, with the vocabulary known
  std::string toml;  // the same as text
  std::vector<std::string> keys;

  RunConfig config_of(const std::vector<std::string>& changes) const;
};

/// The trial of a model (width and layers, 0 = the base's), setting, seed and length (steps, 0 =
/// what the config says). UserError for a config that cannot be.
Trial make_trial(const SweepBase& base,
                 int64_t width,
                 int64_t layers,
                 const std::vector<std::string>& setting,
                 uint64_t seed,
                 int64_t steps);

}  // namespace isoflop
