// A family of models: one run file at several widths and depths.
#pragma once
#include "launch/config_arguments.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

/// The key=value changes that give the run `config` (as loaded, not resolved) another width or
/// depth; 0 keeps it. Heads keep their size and become more, with as many queries to a key/value
/// head; a d_ff that was set keeps its ratio to d_model. UserError when the width is no multiple.
std::vector<std::string> resized(const RunConfig& config, int64_t width, int64_t layers);

/// "64,128,256": positive whole numbers, sorted, each once. UserError names `flag`.
std::vector<int64_t> parse_sizes(const std::string& text, const std::string& flag);

}  // namespace isoflop
