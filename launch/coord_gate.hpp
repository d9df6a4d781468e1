// The coordinate check that a large run has to pass before it starts: a family of small models with
// the run's own architecture, optimizer and parametrization.
#pragma once
#include "launch/context.hpp"
#include "pretrain/train/run.hpp"

#include <filesystem>
#include <string>

namespace isoflop {

/// FLOPs of a run that is large. The check takes some 1e12, a millionth of that.
inline constexpr double kLargeRun = 1e18;

/// The run's config (resolved) made small: as wide as `width`, two layers, a short context, few
/// tokens. Heads keep their size, d_ff its ratio; what the width does not scale stays.
RunConfig reduced(const RunConfig& config, int64_t width);
/// Three widths a factor of 2 apart, of whole heads.
std::vector<int64_t> gate_widths(const RunConfig& config);

/// Where passed checks are kept: isoflop/coordcheck in $XDG_CACHE_HOME, else in ~/.cache; empty
/// when neither is known.
std::filesystem::path coordcheck_cache();

/// Checks the family unless it has passed before: the name of a file in `cache` is the hash of the
/// program and of the reduced configs. GateError with the diagnosis. Under sp there is nothing to
/// hold: the user chose that nothing follows the width.
void require_coordinates(const RunConfig& config,
                         const std::filesystem::path& cache,
                         const Context& context);

}  // namespace isoflop
