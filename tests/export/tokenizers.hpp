// Small tokenizers made by hand.
#pragma once
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// 260 tokens: <|endoftext|>, the bytes, "th", "the", " the".
inline std::unique_ptr<Tokenizer> byte_level_tokenizer() {
  std::vector<std::string> texts = {"<|endoftext|>"};
  for (int byte = 0; byte < 256; ++byte)
    texts.push_back(to_printable(std::string(1, static_cast<char>(byte))));
  texts.insert(texts.end(), {"th", "the", to_printable(" the")});
  return make_bpe_tokenizer(texts, {"t h", "th e", to_printable(" ") + " the"}, {0}, 0);
}

inline std::unique_ptr<Tokenizer> character_tokenizer(const std::vector<std::string>& characters) {
  std::vector<std::string> texts;
  for (const std::string& character : characters) texts.push_back(to_printable(character));
  return make_bpe_tokenizer(texts, {}, {}, -1);
}

}  // namespace isoflop
