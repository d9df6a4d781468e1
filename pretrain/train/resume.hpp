// Going on with a run: what is there, and whether the config of today may continue it.
#pragma once
#include "core/file.hpp"
#include "pretrain/config/run_config.hpp"

namespace isoflop {

/// True when the folder holds (part of) a run; a new run must not be started over it.
bool holds_run(const fs::path& folder);

/// Throws UserError listing every key that differs and must not: model, data order, schedule,
/// optimizer, seed. Both configs are resolved.
void require_same_run(const RunConfig& stored, const RunConfig& now);

}  // namespace isoflop
