// What the values of a run say together: checks across keys, and the values of "auto" that need no
// data.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <array>
#include <cstdint>
#include <string_view>

namespace isoflop {

/// Exactly one of these says how long a run is.
inline constexpr std::array<std::string_view, 4> kLengthKeys = {
    "schedule.tokens_per_parameter", "schedule.tokens", "schedule.steps", "schedule.budget"};

/// Everything that can be wrong before the data is seen: shapes, the length, the batch, quantities
/// and the tokenizer's spelling. UserError names the keys and a value that would do. load_config
/// calls it.
void check_config(const RunConfig& config);

/// Fills kv_heads, head_dim, d_ff, slots and micro_batch where they are auto. Afterwards
/// batch_tokens = slots x k x micro_batch x context holds, and every slot has the same number of
/// sequences. Needs no length; vocabulary, eval.every, threads, device and dtype stay as they are.
/// Idempotent. `copies` of the model share the steps: slots that are auto are as many as for one,
/// so that others can share a run that one rank began, unless that leaves a copy without any.
RunConfig resolved(RunConfig config, int64_t copies = 1);

/// Steps of a run whose length is given in steps, tokens or tokens per parameter: whole steps,
/// rounded down, at least 1; a growing batch is counted as it grows. `parameters` counts everything
/// stored, a tied table once. Not for a budget in time.
int64_t planned_steps(const RunConfig& config, int64_t parameters);

}  // namespace isoflop
