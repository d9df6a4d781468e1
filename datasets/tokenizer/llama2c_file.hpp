// The tokenizer.bin of llama2.c: the length of the longest token (i32), then of each token its
// score (f32), length (i32) and bytes, in little-endian order. Its pieces are SentencePiece's with
// spaces for U+2581; <unk>, <s> and </s> have the first three ids.
#pragma once
#include "datasets/tokenizer.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace isoflop {

/// The format has no magic number: whether it begins with a likely length and a first token of it.
bool looks_like_llama2c(std::string_view file);

/// FormatError naming the token and offset when the file is damaged.
std::unique_ptr<Tokenizer> read_llama2c(std::string_view file, const std::string& origin);

}  // namespace isoflop
