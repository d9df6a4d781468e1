#include "export/gguf_recipe.hpp"

#include "core/error.hpp"
#include "pretrain/gguf_names.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace isoflop {

namespace {

// The output matrix of a small model is worth more bits than its share of the file suggests.
constexpr std::array kRecipes = {
    GgufRecipe{"f32", BlockType::f32, BlockType::f32, 0},
    GgufRecipe{"f16", BlockType::f16, BlockType::f16, 1},
    GgufRecipe{"q8_0", BlockType::q8_0, BlockType::q8_0, 7},
    GgufRecipe{"q4_0", BlockType::q4_0, BlockType::q8_0, 2},
};

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

BlockType choose_block_type(const GgufRecipe& recipe,
                            std::string_view tensor,
                            const std::vector<int64_t>& dims,
                            bool tied_embeddings) {
  if (dims.size() < 2 || tensor == gguf::kPositionEmbedding) return BlockType::f32;
  const bool output =
      tensor == gguf::kOutput || (tied_embeddings && tensor == gguf::kTokenEmbedding);
  const BlockType wanted = output ? recipe.output : recipe.matrices;
  return block_codec(wanted).fits(dims[0]) ? wanted : BlockType::f16;
}

}  // namespace isoflop
