// tokenizer.json as Hugging Face's `tokenizers` reads it, in the two forms that we write.
//
// byte_level: BPE over the printable byte remapping with GPT-2's splitting. characters: BPE without
// merges over the characters themselves, no splitting. The first special token listed is the
// separator.
#pragma once
#include "datasets/tokenizer.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct TokenizerFile {
  enum class Form { byte_level, characters };
  Form form;
  std::vector<std::string> tokens;   // by id, as they are written
  std::vector<std::string> merges;   // "left right"
  std::vector<int32_t> special_ids;  // separator first
};

std::string write_tokenizer_json(const TokenizerFile& file);

/// FormatError for a damaged file, UserError naming the part for one that asks for something else
/// than the two forms. What only adds tokens around a text or describes offsets (post_processor,
/// padding, truncation) is not read.
std::unique_ptr<Tokenizer> read_tokenizer_json(std::string_view text, const std::string& origin);

}  // namespace isoflop
