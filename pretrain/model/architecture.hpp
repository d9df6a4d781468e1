// What an architecture consists of: its parameter table, and the counts that follow from it.
//
// Table order is backward order (head, final norm, last block ... first block, embeddings), the
// order in which gradients become complete. Logical shapes: rows = outputs; gpt3's fused qkv is all
// Q, all K, all V, head-major; llama's RoPE pairs are interleaved (docs/architecture.md).
#pragma once
#include "core/param.hpp"
#include "pretrain/config/run_config.hpp"

#include <cstdint>

namespace isoflop {

/// `config` must be resolved (no zeros that mean "auto").
ParamTable make_param_table(const ModelConfig& config);

/// The table plus, for tied embeddings, one more row "head.weight": the head's share of the tied
/// matrix's gradient is summed on its own and added once at the end, so that a pipeline whose first
/// and last stage are different ranks gets the same bits.
ParamTable make_gradient_table(const ModelConfig& config);

/// Draws every parameter from (seed, name, element): independent of order, threads and ranks.
void initialize_parameters(const ParamTable& table, uint64_t seed, ParamBuffer& parameters);

/// Weights in matrix products, the head included (tied or not); excludes lookups and vectors.
int64_t matmul_parameter_count(const ModelConfig& config);
/// All parameters but the tables of tokens and positions and an own head: what Pythia and Kaplan et
/// al. count.
int64_t non_embedding_parameter_count(const ModelConfig& config);
/// Training FLOPs per token: 6 x matmul weights + 12 L T d (attention counted in full, not causal).
double training_flops_per_token(const ModelConfig& config);

}  // namespace isoflop
