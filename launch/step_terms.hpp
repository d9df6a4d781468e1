// A step's terms for people and programs: what `plan` and `launch --simulate` show.
#pragma once
#include "launch/context.hpp"
#include "pretrain/train/run.hpp"
#include "scaling/step_model.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

/// A step of the run on such a grid. Borrows the run.
StepWork work_of(const Run& run, GridShape grid, DType activations);

void print_step_terms(const StepTerms& terms, const Context& context);
nlohmann::ordered_json step_json(const StepTerms& terms);

}  // namespace isoflop
