#include "pretrain/hf_names.hpp"

#include "core/math.hpp"

#include <fmt/format.h>

#include <span>
#include <string>

namespace isoflop::hf {

namespace {

struct Name {
  std::string_view ours, theirs;
  Layout layout = Layout::plain;
};

// Block tensors follow the name of the block; the others stand alone.
constexpr Name kGpt2[] = {{"embedding", "transformer.wte"},
                          {"positions", "transformer.wpe"},
                          {"norm", "transformer.ln_f"},
                          {"head", "lm_head"},
                          {"norm1", "ln_1"},
                          {"attention.qkv", "attn.c_attn", Layout::transposed},
                          {"attention.out", "attn.c_proj", Layout::transposed},
                          {"norm2", "ln_2"},
                          {"mlp.up", "mlp.c_fc", Layout::transposed},
                          {"mlp.down", "mlp.c_proj", Layout::transposed}};
constexpr Name kNeox[] = {{"embedding", "gpt_neox.embed_in"},
                          {"norm", "gpt_neox.final_layer_norm"},
                          {"head", "embed_out"},
                          {"norm1", "input_layernorm"},
                          {"attention.qkv", "attention.query_key_value", Layout::by_head},
                          {"attention.out", "attention.dense"},
                          {"norm2", "post_attention_layernorm"},
                          {"mlp.up", "mlp.dense_h_to_4h"},
                          {"mlp.down", "mlp.dense_4h_to_h"}};
constexpr Name kLlama[] = {{"embedding", "model.embed_tokens"},
                           {"norm", "model.norm"},
                           {"head", "lm_head"},
                           {"norm1", "input_layernorm"},
                           {"attention.q", "self_attn.q_proj", Layout::half_split},
                           {"attention.k", "self_attn.k_proj", Layout::half_split},
                           {"attention.v", "self_attn.v_proj"},
                           {"attention.out", "self_attn.o_proj"},
                           {"norm2", "post_attention_layernorm"},
                           {"mlp.gate", "mlp.gate_proj"},
                           {"mlp.up", "mlp.up_proj"},
                           {"mlp.down", "mlp.down_proj"}};

std::span<const Name> names_of(Arch arch) {
  switch (arch) {
    case Arch::gpt3:
      return kGpt2;
    case Arch::pythia:
      return kNeox;
    case Arch::llama:
      return kLlama;
  }
  return {};
}

std::string block_prefix(Arch arch, int block) {
  return fmt::format("{}{}.{}.", class_of(arch).prefix, arch == Arch::gpt3 ? "h" : "layers", block);
}

}  // namespace

const ModelClass& class_of(Arch arch) {
  for (const ModelClass& known : kClasses)
    if (known.arch == arch) return known;
  ISOFLOP_CHECK(false, "{} has no class", name_of(arch));
}

void add_names(const ModelConfig& config, ParamTable& table) {
  for (ParamSpec& spec : table) {
    const bool in_block = spec.stage_block >= 0 && spec.stage_block < config.layers;
    const std::string own = in_block ? fmt::format("blocks.{}.", spec.stage_block) : "";
    const std::string prefix = in_block ? block_prefix(config.arch, spec.stage_block) : "";
    for (const Name& name : names_of(config.arch))
      for (const std::string_view kind : {".weight", ".bias"})
        if (spec.name == fmt::format("{}{}{}", own, name.ours, kind)) {
          const bool turned = name.layout == Layout::transposed && spec.is_vector();
          spec.hugging_face = {{.name = fmt::format("{}{}{}", prefix, name.theirs, kind),
                                .layout = turned ? Layout::plain : name.layout,
                                .head_rows = config.head_dim}};
        }
  }
}

Stored::Stored(const ParamSpec& spec, const ForeignName& name)
    : foreign(name),
      vector(spec.is_vector()),
      outputs(vector ? spec.cols : spec.rows),
      inputs(vector ? 1 : spec.cols),
      rows(outputs),
      cols(inputs) {
  ISOFLOP_CHECK(name.first_row == 0 && name.row_count == 0, "{} is a part of a tensor", name.name);
  if (name.layout == Layout::transposed) std::swap(rows, cols);
}

std::vector<int64_t> Stored::shape() const {
  if (vector) return {rows};
  return {rows, cols};
}

int64_t Stored::output(int64_t row, int64_t col) const {
  const int64_t head = foreign.head_rows;
  switch (foreign.layout) {
    case Layout::plain:
      return row;
    case Layout::transposed:
      return col;
    case Layout::by_head: {
      const int64_t part = row / head % 3;  // q, k, v
      return part * (outputs / 3) + row / (3 * head) * head + row % head;
    }
    case Layout::half_split: {
      const int64_t entry = row % head, half = head / 2;
      return row - entry + 2 * (entry % half) + entry / half;
    }
  }
  return row;
}

}  // namespace isoflop::hf
