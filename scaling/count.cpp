#include "scaling/count.hpp"

#include "core/error.hpp"
#include "pretrain/model/architecture.hpp"

#include <array>

namespace isoflop {

namespace {

constexpr std::array<std::string_view, 4> kCountNames = {"all", "one_table", "non_embedding",
                                                         "matmul"};

}  // namespace

std::string_view name_of(ParameterCount count) {
  return kCountNames[static_cast<size_t>(count)];
}

ParameterCount parse_parameter_count(std::string_view name) {
  for (size_t i = 0; i < kCountNames.size(); ++i)
    if (name == kCountNames[i]) return static_cast<ParameterCount>(i);
  fail_user(
      "\"{}\" is no way to count parameters; there are all, one_table, non_embedding and "
      "matmul",
      name);
}

int64_t count_parameters(const ModelConfig& config, ParameterCount count) {
  switch (count) {
    case ParameterCount::non_embedding:
      return non_embedding_parameter_count(config);
    case ParameterCount::matmul:
      return matmul_parameter_count(config);
    case ParameterCount::one_table:
    case ParameterCount::all:
      break;
  }
  const int64_t all = all_parameter_count(config);
  const bool second_table = count == ParameterCount::one_table && !config.tied_embeddings;
  return second_table ? all - config.vocabulary * config.d_model : all;
}

double chinchilla_parameters(
    double d_model, double d_ff, double head_dim, double heads, double layers) {
  const double q = heads * head_dim;
  return 32000 * d_model + layers * (5 * d_model * q + 2 * d_model * d_ff + d_ff + 11 * d_model) +
         2 * d_model;
}

double training_flops_chinchilla(const ModelConfig& config, bool tables) {
  const double d = static_cast<double>(config.d_model), s = static_cast<double>(config.context);
  const double heads = static_cast<double>(config.heads);
  const double q = heads * static_cast<double>(config.head_dim);
  const double kv = static_cast<double>(config.kv_heads * config.head_dim);
  const double maps = is_llama(config.arch) ? 3 : 2;
  const double layer = 2 * d * (q + 2 * kv) + 2 * s * q + 3 * heads * s + 2 * s * q + 2 * q * d +
                       2 * maps * d * static_cast<double>(config.d_ff);
  const double ends = tables ? 2 * 2 * d * static_cast<double>(config.vocabulary) : 0;
  return 3 * (static_cast<double>(config.layers) * layer + ends);
}

double training_flops_cerebras(const ModelConfig& config) {
  const double scores = 24 * static_cast<double>(config.layers * config.context) *
                        static_cast<double>(config.heads * config.head_dim);
  return 6 * static_cast<double>(matmul_parameter_count(config)) + scores +
         4 * static_cast<double>(config.vocabulary * config.d_model);
}

}  // namespace isoflop
