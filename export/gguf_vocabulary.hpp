// A tokenizer as the lists of a GGUF file.
#pragma once
#include "datasets/tokenizer.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct GgufVocabulary {
  std::vector<std::string> texts;   // printable byte remapping; specials as they are; all different
  std::vector<int32_t> types;       // gguf::kNormalToken, ...
  std::vector<std::string> merges;  // "left right", best first
  uint32_t end_of_text = 0;         // written as BOS and EOS
  std::vector<std::string> notes;   // what a reader of the report should know
};

/// `rows` >= the tokenizer's vocabulary: the model's table. Rows without a token become [PAD0], ...
/// A character vocabulary is exact too: characters of several bytes get the merges that build them,
/// which can apply nowhere else since no byte sequence of UTF-8 begins inside a character.
GgufVocabulary make_gguf_vocabulary(const Tokenizer& tokenizer, int64_t rows);

}  // namespace isoflop
