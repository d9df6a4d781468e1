// The two files of GPT-2's release: encoder.json (or vocab.json), an object of tokens and ids, and
// vocab.bpe (or merges.txt), one merge a line, best first.
#pragma once
#include "datasets/tokenizer.hpp"

#include <filesystem>
#include <memory>

namespace isoflop {

/// Nothing in these files says which tokens are special: taken as such are those that are neither a
/// byte nor made by a merge. The separator is <|endoftext|> if it is among them, else the first.
std::unique_ptr<Tokenizer> read_gpt2_tokenizer(const std::filesystem::path& vocab,
                                               const std::filesystem::path& merges);

}  // namespace isoflop
