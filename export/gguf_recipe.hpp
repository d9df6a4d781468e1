// Which block type each tensor of a GGUF file gets.
#pragma once
#include "formats/block_codec.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct GgufRecipe {
  std::string_view name;  // f32, f16, q8_0, q4_0
  BlockType matrices;
  BlockType output;    // output.weight, or the token embedding when it serves as output
  uint32_t file_type;  // general.file_type
};

/// Case does not matter; UserError with the list of names.
const GgufRecipe& find_gguf_recipe(std::string_view name);
std::vector<std::string> gguf_recipe_names();

/// Vectors and learned positions stay F32 (runtimes abort on other vectors); a row that the
/// recipe's block does not divide becomes F16.
BlockType choose_block_type(const GgufRecipe& recipe,
                            std::string_view tensor,
                            const std::vector<int64_t>& dims,
                            bool tied_embeddings);

}  // namespace isoflop
