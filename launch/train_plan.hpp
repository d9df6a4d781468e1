// What a run is going to be, before it is: for the first lines of `train` and for --dry-run.
#pragma once
#include "launch/context.hpp"
#include "ops/backend.hpp"
#include "pretrain/train/run.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

/// Model, batch and device, as notes.
void print_shape(const Run& run, const Backend& backend, const Context& context);
/// Parameters, tokens, steps, memory by kind (of a rank) and the schedule's curve, as notes.
void print_plan(const Run& run, const Backend& backend, const Context& context, int ranks = 1);
/// Bytes of all its rows. Call before anything is allocated: what the program has by then counts.
size_t planned_memory(const Run& run, const Backend& backend, int ranks = 1);
/// Likewise of steps alone, that are never saved.
size_t planned_step_memory(const Run& run, const Backend& backend);
/// After the run: how much memory it took, beside what was planned.
void print_memory(size_t planned, size_t peak, const Context& context);
nlohmann::ordered_json plan_json(const Run& run, const Backend& backend, int ranks = 1);

}  // namespace isoflop
