// config.json of a Hugging Face folder: the shape of a model, read and written.
//
// Known are GPT2LMHeadModel, GPTNeoXForCausalLM and LlamaForCausalLM as transformers 4 and 5 write
// them. What our models cannot represent is a UserError that names the key; a key that is not known
// at all is a note.
#pragma once
#include "core/dtype.hpp"
#include "pretrain/config/run_config.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop::hf {

/// Resolved but for the multipliers, which are 1. FormatError for a damaged file.
ModelConfig read_config(std::string_view text,
                        const std::string& origin,
                        std::vector<std::string>& notes);

/// UserError naming the option when no such folder can express the model. Multipliers can: they are
/// folded into the weights.
void require_expressible(const ModelConfig& model);

/// `separator`: the id that ends a text, or -1. Only of what require_expressible lets through.
std::string write_config(const ModelConfig& model, DType dtype, int separator);

}  // namespace isoflop::hf
