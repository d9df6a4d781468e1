// The one way into a tokenizer from what a file holds, and the place where it is checked.
#pragma once
#include "datasets/tokenizer.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// All texts in the printable byte remapping (byte_text.hpp), special tokens as plain text.
struct TokenizerParts {
  std::vector<std::string> token_texts;  // by id
  std::vector<std::string> merges;       // "left right", best first
  std::vector<int> special_ids;          // may be out of order
  int separator = -1;                    // -1: the first of special_ids, if any
};

/// `origin` is what messages call the file. FormatError unless every byte has a token and every
/// merge joins two tokens into a third; or every token is a single character, which makes a
/// tokenizer of the kind `chars` (its merges say nothing new and are not read).
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerParts& parts, const std::string& origin);

/// The same for a reader that has the parts in hand.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(std::vector<std::string> token_texts,
                                              std::vector<std::string> merges,
                                              std::vector<int> special_ids,
                                              int separator,
                                              const std::string& origin = "tokenizer");

}  // namespace isoflop
