// The flags of every command that draws text.
#pragma once
#include "eval/sampling.hpp"
#include "launch/flags.hpp"

namespace isoflop {

/// Adds --temperature, --top-k, --top-p, --min-p, --repeat-penalty, --repeat-window and --seed;
/// `options` outlives parsing.
void add_sampling_flags(Flags& app, SamplingOptions& options);

}  // namespace isoflop
