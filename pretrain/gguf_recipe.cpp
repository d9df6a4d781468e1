#include "pretrain/gguf_recipe.hpp"

#include "core/error.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/model/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace isoflop {

namespace {

using enum BlockType;

// The output matrix of a small model is worth more bits than its share of the file suggests.
constexpr std::array kRecipes = {
    GgufRecipe{"f32", f32, f32, 0, f32},        GgufRecipe{"f16", f16, f16, 1, f16},
    GgufRecipe{"bf16", bf16, bf16, 32, bf16},   GgufRecipe{"q8_0", q8_0, q8_0, 7, q8_0},
    GgufRecipe{"q4_0", q4_0, q6_k, 2, q4_0},    GgufRecipe{"q4_1", q4_1, q6_k, 3, q4_1},
    GgufRecipe{"q5_0", q5_0, q6_k, 8, q5_0},    GgufRecipe{"q5_1", q5_1, q6_k, 9, q5_1},
    GgufRecipe{"q4_k_s", q4_k, q6_k, 14, q4_k}, GgufRecipe{"q4_k_m", q4_k, q6_k, 15, q4_k},
    GgufRecipe{"q5_k_s", q5_k, q6_k, 16, q5_k}, GgufRecipe{"q5_k_m", q5_k, q6_k, 17, q5_k},
    GgufRecipe{"q6_k", q6_k, q6_k, 18, q6_k},
};

// Rounding is computed, not searched for, and rounding what is rounded changes nothing.
constexpr std::array kGrids = {GgufRecipe{"q4_0", q4_0, q8_0, 2, q8_0}};

/// The layers that the _M recipes spend more bits on: the first and last eighth, and every third
/// between them.
bool gets_more_bits(int64_t layer, int64_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

BlockType type_of_values(const GgufRecipe& recipe, const RecipeContext& context, int64_t layer) {
  BlockType type = recipe.matrices;
  if (ends_with(recipe.name, "k_m") && gets_more_bits(layer, context.layers)) type = q6_k;
  if (recipe.name == "q4_k_s" && layer < 4) type = q5_k;
  return context.shares_values && type == q4_k ? q5_k : type;
}

BlockType type_of_ffn_down(const GgufRecipe& recipe, const RecipeContext& context, int64_t layer) {
  if (ends_with(recipe.name, "k_m") && gets_more_bits(layer, context.layers)) return q6_k;
  if (layer >= context.layers / 8) return recipe.matrices;
  if (recipe.name == "q4_k_s") return q5_k;
  if (context.weighted && recipe.name == "q4_0") return q4_1;
  if (context.weighted && recipe.name == "q5_0") return q5_1;
  return recipe.matrices;
}

/// A type of about as many bits whose block divides a row.
BlockType fitting_type(BlockType wanted, int64_t width) {
  if (block_codec(wanted).fits(width)) return wanted;
  const BlockType smaller = wanted == q4_k ? q5_0 : wanted == q5_k ? q5_1 : q8_0;
  return block_codec(smaller).fits(width) ? smaller : f16;
}

}  // namespace

std::vector<std::string> gguf_recipe_names() {
  std::vector<std::string> names;
  for (const GgufRecipe& recipe : kRecipes) names.emplace_back(recipe.name);
  return names;
}

const GgufRecipe& find_gguf_recipe(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const GgufRecipe& recipe : kRecipes)
    if (recipe.name == lower) return recipe;
  fail_user("unknown GGUF type \"{}\"; choose one of {}", name,
            fmt::join(gguf_recipe_names(), ", "));
}

const GgufRecipe* find_grid_recipe(std::string_view name) {
  for (const GgufRecipe& recipe : kGrids)
    if (recipe.name == name) return &recipe;
  return nullptr;
}

RecipeContext recipe_context(const ModelConfig& model, bool weighted) {
  return {
      .layers = model.layers,
      // gptneox has no tied form in a file: the matrix is written twice.
      .has_output = !model.tied_embeddings || model.arch == Arch::pythia,
      .weighted = weighted,
      .shares_values = is_llama(model.arch) && model.layers == 80 && model.kv_heads != model.heads};
}

BlockChoice choose_block_type(const GgufRecipe& recipe,
                              const RecipeContext& context,
                              std::string_view tensor,
                              int64_t block,
                              const std::vector<int64_t>& dims) {
  if (dims.size() < 2 || tensor == gguf::kPositionEmbedding) return {f32, f32};
  BlockType wanted = recipe.matrices;
  if (tensor == (context.has_output ? gguf::kOutput : gguf::kTokenEmbedding))
    wanted = recipe.output;
  else if (tensor == gguf::kTokenEmbedding)
    wanted = recipe.embedding;
  else if (ends_with(tensor, "attn_v.weight") || ends_with(tensor, "attn_qkv.weight"))
    wanted = type_of_values(recipe, context, block);
  else if (ends_with(tensor, "ffn_down.weight"))
    wanted = type_of_ffn_down(recipe, context, block);
  return {wanted, fitting_type(wanted, dims[0])};
}

std::vector<std::string> quantization_advice(const ModelConfig& model) {
  const auto bits = [&](const GgufRecipe& recipe, bool as_wanted) {
    const RecipeContext context = recipe_context(model, false);
    double sum = 0, values = 0;
    for (const ParamSpec& spec : make_param_table(model))
      for (const ForeignName& foreign : spec.gguf) {
        if (spec.is_vector()) continue;
        const BlockChoice choice = choose_block_type(recipe, context, foreign.name,
                                                     spec.stage_block, {spec.cols, spec.rows});
        const BlockCodec& codec = block_codec(as_wanted ? choice.wanted : choice.type);
        const auto size = static_cast<double>(spec.size());
        sum += size * 8 * static_cast<double>(codec.block_bytes) /
               static_cast<double>(codec.block_elements);
        values += size;
      }
    return sum / values;
  };
  std::vector<std::string> advice;
  for (const auto& [name, multiple] : {std::pair{"q4_0", 32}, {"q4_k_m", 256}}) {
    std::vector<std::string> odd;
    for (const auto& [key, width] : {std::pair{"d_model", model.d_model}, {"d_ff", model.d_ff}})
      if (width % multiple != 0) odd.push_back(fmt::format("{} = {}", key, width));
    if (odd.empty()) continue;
    const GgufRecipe& recipe = find_gguf_recipe(name);
    advice.push_back(fmt::format(
        "{} will not quantize well: a {} file of this shape has {:.2f} bits per weight, with "
        "multiples of {} it would have {:.2f}",
        fmt::join(odd, " and "), name, bits(recipe, false), multiple, bits(recipe, true)));
  }
  return advice;
}

}  // namespace isoflop
