// Which block type each tensor of a GGUF file gets: the rules of the runtime's own quantizer, so
// that a recipe's name means here what it means there.
#pragma once
#include "formats/block_codec.hpp"
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct GgufRecipe {
  std::string_view name;  // f32, q8_0, q4_k_m, ...
  BlockType matrices;
  BlockType output;     // output.weight, or the token embedding when it serves as output
  uint32_t file_type;   // general.file_type
  BlockType embedding;  // of tokens, where it does not serve as output
};

/// Case does not matter; UserError with the list of names.
const GgufRecipe& find_gguf_recipe(std::string_view name);
std::vector<std::string> gguf_recipe_names();

/// Of a model trained on the grid `name` (schedule.quantize): every value of its file is one that
/// training saw. The runtime's rules give the output bits of a search that training does not make,
/// so this is a recipe of our own. Null when there is no such grid.
const GgufRecipe* find_grid_recipe(std::string_view name);

/// What the rules ask about a file as a whole.
struct RecipeContext {
  int64_t layers = 0;
  bool has_output = false;     // a matrix of its own, output.weight
  bool weighted = false;       // an importance matrix is there
  bool shares_values = false;  // 80 layers of grouped queries (LLaMA 2 70B), whose values are few
};
RecipeContext recipe_context(const ModelConfig& model, bool weighted);

struct BlockChoice {
  BlockType wanted;
  BlockType type;  // another one where the tensor's rows are no multiple of the wanted block
};
/// `block` is the tensor's layer, outside 0..layers-1 for those of no block; `dims` fastest first.
/// Vectors and learned positions stay F32 (runtimes abort on other vectors).
BlockChoice choose_block_type(const GgufRecipe& recipe,
                              const RecipeContext& context,
                              std::string_view tensor,
                              int64_t block,
                              const std::vector<int64_t>& dims);

/// What to know before training about widths that no block divides: empty when d_model and d_ff are
/// multiples of 256.
std::vector<std::string> quantization_advice(const ModelConfig& model);

}  // namespace isoflop
