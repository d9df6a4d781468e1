// From [parametrization] of a run to the numbers its model trains with. The rules are in
// muP/parametrization.hpp; here is what they are told about a model.
#pragma once
#include "core/param.hpp"
#include "muP/parametrization.hpp"
#include "pretrain/config/run_config.hpp"

namespace isoflop {

/// What the rules need to know; `config` is resolved.
Parametrization parametrization_of(const RunConfig& config);

/// Writes the model's forward multipliers as the rules have them, and base_d_ff where it is auto.
/// The shape must be resolved; load's `resolved` calls it. Idempotent. UserError when a base size
/// is missing, or when multipliers were set that the rules would change.
void resolve_parametrization(RunConfig& config);

/// make_param_table with what the run's optimizer updates, and with initial deviations, rates,
/// epsilons and decays of its parametrization.
ParamTable make_parametrized_table(const RunConfig& config);

}  // namespace isoflop
