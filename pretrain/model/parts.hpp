// What a rank has of a model whose matrices are shared by several (parallel.tp): its part of the
// heads, of the hidden units and of the vocabulary. Blocks compute with a part's config as if it
// were a model; what makes it one is outside of them (parallel/tensor_parallel.hpp).
#pragma once
#include "pretrain/config/run_config.hpp"

namespace isoflop {

/// The shape of a part, which make_param_table turns into its tensors (cut_table).
ModelConfig part_of_model(const ModelConfig& config, int part, int parts);

/// How often a slice of the residual stream or its gradient goes from each rank to each other in a
/// forward and backward pass of a block, when nothing is computed again: before each product that
/// is cut by outputs (and again for its gradient), and behind each that is cut by inputs; in the
/// backward pass the other way round. A parallel residual needs one fewer in each direction.
int64_t part_messages(const ModelConfig& config);

/// UserError, naming what does not divide, when parallel.tp does not fit the run.
void require_parts(const RunConfig& config);

}  // namespace isoflop
