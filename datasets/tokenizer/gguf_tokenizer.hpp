// The tokenizer inside a GGUF file: byte-level BPE ("gpt2") with any splitting rule that has a
// name, or SentencePiece's ("llama").
#pragma once
#include "datasets/tokenizer.hpp"
#include "formats/gguf.hpp"

#include <memory>

namespace isoflop {

/// Padding at the end (tokens of the type unused) is left out. UserError for another model or rule,
/// FormatError for keys that do not fit each other.
std::unique_ptr<Tokenizer> read_gguf_tokenizer(const GgufFile& file);

}  // namespace isoflop
