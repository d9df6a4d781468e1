// Going on with a run: what is there, and whether the config of today may continue it.
#pragma once
#include "core/file.hpp"
#include "pretrain/train/run.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// True when the folder holds (part of) a run; a new run must not be started over it.
bool holds_run(const fs::path& folder);

/// What a run that goes on from `step` with `now` does differently from before, a line each; empty
/// when nothing. Throws UserError listing every key that differs and must not (`frozen` in
/// pretrain/config/fields.cpp: model, data order, slots, seed, optimizer, schedule). With `extend`
/// the length may grow. `stored` is the checkpoint's config.
std::vector<std::string> changes_on_resume(const RunConfig& stored,
                                           const Run& now,
                                           int64_t step,
                                           bool extend);

}  // namespace isoflop
