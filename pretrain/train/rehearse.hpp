// What a backend chooses by timing when it first meets a shape, chosen before the first step: ranks
// must compute alike, so the first one rehearses and the others follow its choices.
#pragma once
#include "ops/backend.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/run_config.hpp"

namespace isoflop {

/// Takes a step of one micro-batch of the run's, on random tokens, with a model of one block and
/// all of its matrices: `backend` has met every shape of the run's steps then, whatever the number
/// of ranks or stages. `config` is resolved.
void rehearse(RunConfig config, const BatchPlan& plan, Backend& backend);

}  // namespace isoflop
