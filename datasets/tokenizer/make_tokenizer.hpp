// The one way into a byte-level or character tokenizer from what a file holds, and the place where
// it is checked. SentencePiece: piece_tokenizer.hpp.
#pragma once
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/added_tokens.hpp"
#include "datasets/tokenizer/split_rule.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// All texts in the printable byte remapping (byte_text.hpp), those of added tokens as they are.
struct TokenizerParts {
  std::vector<std::string> token_texts;  // by id
  std::vector<std::string> merges;       // "left right", best first
  std::vector<AddedToken> added;         // may be out of order
  int separator = -1;                    // -1: the first of `added` that is special, if any
  SplitRule rule = SplitRule::named("gpt-2");
  bool nfc = false;
  bool ignore_merges = false;
  int unknown = -1;  // stands for a byte without a token; -1: such a byte is passed over
};

/// `origin` is what messages call the file. FormatError unless every byte that UTF-8 uses has a
/// token and every merge joins two tokens into a third; or every token is a single character, which
/// makes a tokenizer of the kind `chars` (its merges say nothing new and are not read).
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerParts& parts, const std::string& origin);

/// The same with GPT-2's rule and special tokens only.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(std::vector<std::string> token_texts,
                                              std::vector<std::string> merges,
                                              std::vector<int> special_ids,
                                              int separator,
                                              const std::string& origin = "tokenizer");

}  // namespace isoflop
