// What a config is resolved to when it is known how many copies of the model share its steps.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <cstdint>

namespace isoflop {

/// As resolved() (resolve.hpp), which does it for one. Slots that are auto: as many up to 8, or up
/// to `copies` when those are more, as cut the batch into whole micro-batches evenly; more where
/// only that gives each copy one. So others can share a run later that one rank begins.
RunConfig resolved_for(RunConfig config, int64_t copies);

}  // namespace isoflop
