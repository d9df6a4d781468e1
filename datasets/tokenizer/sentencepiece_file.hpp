// SentencePiece's tokenizer.model.
#pragma once
#include "datasets/tokenizer.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace isoflop {

/// Whether the file begins as a tokenizer.model does: with a piece.
bool looks_like_sentencepiece(std::string_view file);

/// BPE models, with or without byte fallback, whose normalization is the identity. FormatError for
/// a damaged file, UserError naming the field for other kinds.
std::unique_ptr<Tokenizer> read_sentencepiece(std::string_view file, const std::string& origin);

/// `tokenizer`, of the kind sentencepiece, as such a file: pieces, scores, types, handling of
/// spaces and the end of text.
std::string write_sentencepiece(const Tokenizer& tokenizer);

}  // namespace isoflop
