// What a model has and costs, by each convention that a law or a paper counts by.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <string_view>

namespace isoflop {

/// `all`: everything stored, a tied table once. `one_table`: an own head is not counted (Hoffmann
/// et al. 2022, table A9, has one matrix of the vocabulary). `non_embedding`: without tables and
/// head (Kaplan et al. 2020; Pythia). `matmul`: what multiplies, the head included.
enum class ParameterCount { all, one_table, non_embedding, matmul };
std::string_view name_of(ParameterCount count);
/// UserError lists the names.
ParameterCount parse_parameter_count(std::string_view name);

/// `config` must be resolved, its vocabulary known.
int64_t count_parameters(const ModelConfig& config, ParameterCount count);

/// Of table A9 of Hoffmann et al. 2022, whose models have relative positions: 32000 d + layers (5 d
/// q + 2 d f + f + 11 d) + 2 d with q = heads x head_dim. Within 0.7 % of every row, 0.25 % from
/// 57M on.
double chinchilla_parameters(
    double d_model, double d_ff, double head_dim, double heads, double layers);

/// FLOPs of training on one token as appendix F of Hoffmann et al. counts them, per token of a
/// sequence: embedding as a product, softmax, both attention products whole; x 3 for the backward.
/// `tables` false leaves out embedding and logits, which is what reproduces their table A4.
double training_flops_chinchilla(const ModelConfig& config, bool tables = true);

/// As Cerebras-GPT counts: 6 x matmul weights + 24 layers context d + 4 vocabulary d. The published
/// text names the parts; this sum gives the seven published figures.
double training_flops_cerebras(const ModelConfig& config);

}  // namespace isoflop
