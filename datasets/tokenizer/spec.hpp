// TokenizerSpec: which tokenizer the config's data.tokenizer asks for.
#pragma once
#include "datasets/tokenizer.hpp"

#include <filesystem>
#include <string>
#include <string_view>

namespace isoflop {

struct TokenizerSpec {
  std::filesystem::path file;  // to be loaded; empty: to be trained as follows
  Tokenizer::Kind kind = Tokenizer::Kind::bpe;
  int vocabulary = 0;  // bpe only

  bool trained() const { return file.empty(); }
};

/// "bytes" | "chars" | "bpe:N" (257 <= N <= 1,000,000) | a file or folder that holds a tokenizer.
/// Does not look at the disk. UserError naming the choices.
TokenizerSpec parse_tokenizer_spec(std::string_view text);

}  // namespace isoflop
