// What an architecture consists of: its parameter table, and the counts that follow from it.
//
// Table order is backward order (head, final norm, last block ... first block, embeddings), the
// order in which gradients become complete. Logical shapes: rows = outputs; gpt3's fused qkv is all
// Q, all K, all V, head-major; llama's RoPE pairs are interleaved (docs/architecture.md).
#pragma once
#include "core/param.hpp"
#include "parallel/sharding.hpp"
#include "pretrain/config/run_config.hpp"

#include <cstdint>

namespace isoflop {

/// `config` must be resolved (no zeros that mean "auto").
ParamTable make_param_table(const ModelConfig& config);

/// The table plus, for tied embeddings, one more row "head.weight": the head's share of the tied
/// matrix's gradient is summed on its own and added once at the end, so that a pipeline whose first
/// and last stage are different ranks gets the same bits.
ParamTable make_gradient_table(const ModelConfig& config);

/// Draws every parameter that the buffer holds from (seed, name, element): independent of order,
/// threads and ranks.
void initialize_parameters(const ParamTable& table, uint64_t seed, ParamBuffer& parameters);
/// The same of a rank's part of each tensor.
void initialize_parameters(const ParamTable& table,
                           uint64_t seed,
                           ParamBuffer& parameters,
                           const Sharding& sharding);

/// Everything stored, a tied table once: parameter_count of the table, without making it.
int64_t all_parameter_count(const ModelConfig& config);
/// Weights in matrix products, the head included (tied or not); excludes lookups and vectors.
int64_t matmul_parameter_count(const ModelConfig& config);
/// All parameters but the tables of tokens and positions and an own head: what Pythia and Kaplan et
/// al. count.
int64_t non_embedding_parameter_count(const ModelConfig& config);
/// Whether the scores that the causal mask removes are counted: `full` is the convention of PaLM
/// (appendix B) and most published figures, `causal` counts half of them.
enum class CountAttention { full, causal };
/// FLOPs of training on one token: 6 x matmul weights (2 per weight forward, 4 backward) + 12 L T
/// d, or 6 L T d; d = heads x head_dim. Recomputation is not counted.
double training_flops_per_token(const ModelConfig& config,
                                CountAttention attention = CountAttention::full);

/// Radians per position of the pair j of a head. linear: Chen et al. 2023, positions shrink by the
/// factor. llama3 (Llama 3.1): slow pairs shrink by the factor, fast ones not, with a ramp for
/// those that turn 1 to 4 times within the original context.
double rope_frequency(const ModelConfig& config, int64_t j);

}  // namespace isoflop
