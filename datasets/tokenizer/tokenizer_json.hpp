// tokenizer.json as Hugging Face's `tokenizers` reads it, in the forms that we write.
//
// byte_level: BPE over the printable byte remapping, with a splitting rule. characters: BPE without
// merges over the characters themselves, no splitting. pieces: see piece_json.hpp. What the
// separator is unless model.isoflop.separator says so (a member that libraries pass over):
// default_separator.
#pragma once
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/added_tokens.hpp"
#include "datasets/tokenizer/split_rule.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct TokenizerFile {
  enum class Form { byte_level, characters };
  Form form = Form::byte_level;
  std::vector<std::string> tokens;  // by id, as they are written
  std::vector<std::string> merges;  // "left right"
  std::vector<AddedToken> added;    // separator first
  SplitRule rule;
  bool nfc = false;
  bool ignore_merges = false;
  std::string unknown;  // text of the token for bytes without one; "" = none
};

/// The first special token listed that is not, by its text, a start, padding or a stand-in for the
/// unknown; the first of all if all are; -1 if there is none.
int32_t default_separator(const std::vector<AddedToken>& added,
                          const std::vector<std::string>& texts);

std::string write_tokenizer_json(const TokenizerFile& file);

/// FormatError for a damaged file, UserError naming the part for one that asks for something else
/// than these forms. What only adds tokens around a text or describes offsets (post_processor,
/// padding, truncation) is not read.
std::unique_ptr<Tokenizer> read_tokenizer_json(std::string_view text, const std::string& origin);

}  // namespace isoflop
