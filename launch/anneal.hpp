// A finished model from the middle of a run: the trunk keeps its rate up (wsd, constant), a branch
// takes a checkpoint of it and lets the rate fall (Hagele et al. 2024). One trunk with several
// branches is several points of a scaling law for little more than the price of the longest.
#pragma once
#include "core/file.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/config/load.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// The config of a branch off `trunk` at its step k: that of a run planned as wsd with k steps up
/// to the cooldown, whose length is schedule.cooldown_fraction of all. UserError when the trunk's
/// rate has begun to fall by then, or when `overrides` change more of what the run computes than
/// cooldown_fraction and final_lr_fraction.
RunConfig annealed_config(const CheckpointRef& trunk,
                          const TrainState& state,
                          const std::vector<std::string>& overrides,
                          Origins& origins);

/// RUN of RUN/checkpoints/step-N. UserError for a checkpoint that lies elsewhere.
fs::path run_folder_of(const CheckpointRef& checkpoint);

/// Gives `folder` the token stores and the tokenizer that the trunk's run built, by links where the
/// file system has them. The trunk's run stays as it is.
void share_data(const CheckpointRef& trunk, const fs::path& folder);

}  // namespace isoflop
