// The tokenizer's files in a Hugging Face folder.
#pragma once
#include "core/file.hpp"
#include "datasets/tokenizer.hpp"
#include "pretrain/config/run_config.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// `separator`: the id that ends a text, or -1.
std::string hf_generation_config(int separator);

/// tokenizer.json and tokenizer_config.json, which say all of it, a chat template (or "") included;
/// besides vocab.json and merges.txt
/// for a gpt3 model whose tokenizer is GPT-2's kind, tokenizer.model for SentencePiece.
void write_hf_tokenizer(const Tokenizer& tokenizer,
                        const ModelConfig& model,
                        const std::string& chat_template,
                        const fs::path& folder,
                        std::vector<std::string>& notes);

}  // namespace isoflop
