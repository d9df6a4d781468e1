#include "pretrain/model/architecture.hpp"

#include "core/hash.hpp"
#include "core/rng.hpp"
#include "pretrain/hf_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

namespace isoflop {

namespace {

/// Standard deviations at the start. gpt2 (Radford et al. 2019): one for all matrices, and
/// projections that end in the residual stream start smaller by sqrt(2L). neox (Black et al. 2022;
/// Nguyen & Salazar 2019, Wang & Komatsuzaki 2021): both follow from the width. plain: one for all.
double matrix_std(const ModelConfig& c) {
  return c.initializer == "neox" ? std::sqrt(0.4 / static_cast<double>(c.d_model)) : c.init_std;
}
double residual_std(const ModelConfig& c) {
  const double layers = static_cast<double>(c.layers), width = static_cast<double>(c.d_model);
  if (c.initializer == "neox") return 2 / (layers * std::sqrt(width));
  return c.initializer == "plain" ? c.init_std : c.init_std / std::sqrt(2 * layers);
}

/// Collects rows of the table; the few ways a tensor can be are its methods.
struct TableWriter {
  const ModelConfig& config;
  ParamTable table;
  int block = -1;
  bool feed_forward = false;

  ParamSpec& matrix(const std::string& name,
                    const std::string& gguf,
                    int64_t rows,
                    int64_t cols,
                    Placement placement) {
    ParamSpec spec;
    spec.name = name + ".weight";
    spec.rows = rows;
    spec.cols = cols;
    spec.decay = true;
    spec.init_std = matrix_std(config);
    spec.placement = placement;
    spec.stage_block = block;
    spec.feed_forward = feed_forward;
    spec.gguf = {{gguf + ".weight", 0, 0}};
    return table.emplace_back(std::move(spec));
  }
  ParamSpec& vector(const std::string& name, const std::string& gguf, int64_t size, double value) {
    ParamSpec spec;
    spec.name = name;
    spec.cols = size;
    spec.role = ParamRole::vector;
    spec.init_value = value;
    spec.stage_block = block;
    spec.feed_forward = feed_forward;
    spec.gguf = {{gguf, 0, 0}};
    return table.emplace_back(std::move(spec));
  }
  void norm(const std::string& name, const std::string& gguf, bool bias, Fold fold = Fold::none) {
    vector(name + ".weight", gguf + ".weight", config.d_model, 1).fold = fold;
    if (bias) vector(name + ".bias", gguf + ".bias", config.d_model, 0).fold = fold;
  }
  void query_key_norms(const std::string& our, const std::string& gguf) {
    if (!config.qk_norm) return;
    vector(our + "attention.k_norm.weight", gguf + "attn_k_norm.weight", config.head_dim, 1);
    vector(our + "attention.q_norm.weight", gguf + "attn_q_norm.weight", config.head_dim, 1);
  }
};

/// gpt3 and pythia have the same tensors; what differs is how they are connected.
void add_gpt_block(TableWriter& w, int block) {
  const ModelConfig& c = w.config;
  const int64_t d = c.d_model, q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const std::string our = fmt::format("blocks.{}.", block), gguf = fmt::format("blk.{}.", block);
  w.block = block;
  const auto linear = [&](const std::string& name, const std::string& foreign, int64_t rows,
                          int64_t cols, Placement placement, Fold fold, int64_t fold_rows,
                          Fan fan_in = Fan::width, Fan fan_out = Fan::width) {
    ParamSpec& weight = w.matrix(our + name, gguf + foreign, rows, cols, placement);
    weight.fan_in = fan_in;
    weight.fan_out = fan_out;
    weight.fold = fold;
    weight.fold_rows = fold_rows;
    if (fold == Fold::attention_query) weight.parts = {q, kv, kv};
    if (fold == Fold::residual) weight.init_std = residual_std(c);
    if (!c.biases) return;
    const std::vector<int64_t> weight_parts = weight.parts;
    ParamSpec& bias = w.vector(our + name + ".bias", gguf + foreign + ".bias", rows, 0);
    bias.fold = fold;
    bias.fold_rows = fold_rows;
    if (placement != Placement::column) return;  // added once, whoever has a part of the inputs
    bias.placement = placement;
    bias.parts = weight_parts;
  };
  w.feed_forward = true;
  linear("mlp.down", "ffn_down", d, c.d_ff, Placement::row, Fold::residual, 0, Fan::feed_forward);
  linear("mlp.up", "ffn_up", c.d_ff, d, Placement::column, Fold::none, 0, Fan::width,
         Fan::feed_forward);
  w.norm(our + "norm2", gguf + "ffn_norm", c.biases);
  w.feed_forward = false;
  linear("attention.out", "attn_output", d, q, Placement::row, Fold::residual, 0);
  w.query_key_norms(our, gguf);
  linear("attention.qkv", "attn_qkv", q + 2 * kv, d, Placement::column, Fold::attention_query, q);
  w.norm(our + "norm1", gguf + "attn_norm", c.biases);
}

void add_llama_block(TableWriter& w, int block) {
  const ModelConfig& c = w.config;
  const int64_t d = c.d_model, q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const std::string our = fmt::format("blocks.{}.", block), gguf = fmt::format("blk.{}.", block);
  w.block = block;
  const auto linear = [&](const std::string& name, const std::string& foreign, int64_t rows,
                          int64_t cols, Placement placement, Fold fold = Fold::none,
                          Fan fan_in = Fan::width, Fan fan_out = Fan::width) {
    ParamSpec& weight = w.matrix(our + name, gguf + foreign, rows, cols, placement);
    weight.fan_in = fan_in;
    weight.fan_out = fan_out;
    weight.fold = fold;
    if (fold == Fold::residual) weight.init_std = residual_std(c);
  };
  w.feed_forward = true;
  linear("mlp.down", "ffn_down", d, c.d_ff, Placement::row, Fold::residual, Fan::feed_forward);
  linear("mlp.up", "ffn_up", c.d_ff, d, Placement::column, Fold::none, Fan::width,
         Fan::feed_forward);
  linear("mlp.gate", "ffn_gate", c.d_ff, d, Placement::column, Fold::none, Fan::width,
         Fan::feed_forward);
  w.norm(our + "norm2", gguf + "ffn_norm", false);
  w.feed_forward = false;
  linear("attention.out", "attn_output", d, q, Placement::row, Fold::residual);
  w.query_key_norms(our, gguf);
  linear("attention.v", "attn_v", kv, d, Placement::column);
  linear("attention.k", "attn_k", kv, d, Placement::column);
  linear("attention.q", "attn_q", q, d, Placement::column, Fold::attention_query);
  w.norm(our + "norm1", gguf + "attn_norm", false);
}

}  // namespace

ParamTable make_param_table(const ModelConfig& config) {
  ISOFLOP_CHECK(config.d_ff && config.head_dim && config.kv_heads && config.vocabulary,
                "the model's shape is not resolved");
  TableWriter w{config, {}, static_cast<int>(config.layers)};
  const int64_t d = config.d_model, v = config.vocabulary;
  const bool llama = is_llama(config.arch);
  if (!config.tied_embeddings) {
    ParamSpec& head = w.matrix("head", "output", v, d, Placement::vocabulary);
    head.role = ParamRole::output;
    head.fold = Fold::output;
  }
  w.norm("norm", "output_norm", !llama && config.biases, Fold::output_norm);
  for (int block = static_cast<int>(config.layers) - 1; block >= 0; --block)
    llama ? add_llama_block(w, block) : add_gpt_block(w, block);
  w.block = -1;
  const auto embedding = [&](const char* name, const char* gguf, int64_t rows,
                             Placement placement) {
    ParamSpec& spec = w.matrix(name, gguf, rows, d, placement);
    spec.role = ParamRole::embedding;
    spec.fold = Fold::embedding;
  };
  if (!has_rope(config.arch))
    embedding("positions", "position_embd", config.context, Placement::replicated);
  embedding("embedding", "token_embd", v, Placement::vocabulary);
  hf::add_names(config, w.table);
  return w.table;
}

ParamTable make_gradient_table(const ModelConfig& config) {
  ParamTable table = make_param_table(config);
  if (config.tied_embeddings) {
    ParamSpec head = table.back();  // embedding.weight
    head.name = "head.weight";
    head.role = ParamRole::output;
    table.push_back(std::move(head));
  }
  return table;
}

template <class T>
static void fill_parameter(const ParamSpec& spec, uint64_t seed, const TensorCut& cut, T* values) {
  const uint64_t stream = rng_stream(RngUse::init, static_cast<uint32_t>(hash_text(spec.name)));
  for (const RowRun& run : cut.runs)
    for (int64_t row = 0; row < run.count; ++row)
      for (int64_t c = 0; c < cut.cols; ++c) {
        const int64_t i = (run.whole + row) * cut.whole_cols + cut.first_col + c;
        const double noise = spec.init_std > 0 ? spec.init_std * normal01(seed, stream, i) : 0.0;
        values[(run.first + row) * cut.cols + c] = static_cast<T>(spec.init_value + noise);
      }
}

void initialize_parameters(const ParamTable& table, uint64_t seed, ParamBuffer& parameters) {
  initialize_parameters(table, seed, parameters, Sharding(table));
}

void initialize_parameters(const ParamTable& table,
                           uint64_t seed,
                           ParamBuffer& parameters,
                           const Sharding& sharding) {
  for (size_t i = 0; i < table.size(); ++i) {
    const View view = parameters[i];
    if (!view) continue;
    const TensorCut cut = sharding.cut(table, i);
    switch (view.dtype) {
      case DType::f32:
        fill_parameter(table[i], seed, cut, view.as<float>());
        break;
      case DType::f64:
        fill_parameter(table[i], seed, cut, view.as<double>());
        break;
      case DType::c128:
        fill_parameter(table[i], seed, cut, view.as<std::complex<double>>());
        break;
      default:
        ISOFLOP_CHECK(false, "masters are not kept in {}", name_of(view.dtype));
    }
  }
}

/// Parameters of the roles that `counts` takes. All blocks are alike, so two small tables say it
/// all; planning counts thousands of models.
template <class Roles>
static int64_t count_roles(const ModelConfig& config, Roles counts) {
  const auto of_layers = [&](int64_t layers) {
    ModelConfig small = config;
    small.layers = layers;
    int64_t count = 0;
    for (const ParamSpec& spec : make_param_table(small))
      if (counts(spec.role)) count += spec.size();
    return count;
  };
  const int64_t one = of_layers(1), block = of_layers(2) - one;
  return one + (config.layers - 1) * block;
}

int64_t all_parameter_count(const ModelConfig& config) {
  return count_roles(config, [](ParamRole) { return true; });
}

int64_t matmul_parameter_count(const ModelConfig& config) {
  const int64_t tied_head = config.tied_embeddings ? config.vocabulary * config.d_model : 0;
  return tied_head + count_roles(config, [](ParamRole role) {
           return role == ParamRole::hidden || role == ParamRole::output;
         });
}

int64_t non_embedding_parameter_count(const ModelConfig& config) {
  return count_roles(config, [](ParamRole role) {
    return role == ParamRole::hidden || role == ParamRole::vector;
  });
}

double training_flops_per_token(const ModelConfig& config, CountAttention attention) {
  const double width = static_cast<double>(config.heads * config.head_dim);
  const double per_pair = attention == CountAttention::full ? 12.0 : 6.0;
  return 6.0 * static_cast<double>(matmul_parameter_count(config)) +
         per_pair * static_cast<double>(config.layers * config.context) * width;
}

double rope_frequency(const ModelConfig& c, int64_t j) {
  const double exponent = -2.0 * static_cast<double>(j) / static_cast<double>(c.rotary_dim());
  const double plain = std::pow(c.rope_base, exponent);
  if (c.rope_scaling == "linear") return plain / c.rope_scaling_factor;
  if (c.rope_scaling != "llama3") return plain;
  const double turns =
      static_cast<double>(c.rope_original_context) * plain / (2 * std::numbers::pi);
  const double keep = std::clamp((turns - 1) / (4 - 1), 0.0, 1.0);
  return plain * (keep + (1 - keep) / c.rope_scaling_factor);
}

}  // namespace isoflop
