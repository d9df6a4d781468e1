// TokenizerTrainer: text in, tokenizer out. Text streams through; what is kept is word counts
// (bpe), the set of characters (chars) or nothing (bytes).
//
//   TokenizerTrainer trainer({.kind = Tokenizer::Kind::bpe, .vocabulary = 8192});
//   for (const Document& document : documents) trainer.add(document.text);
//   std::unique_ptr<Tokenizer> tokenizer = trainer.finish();
#pragma once
#include "datasets/tokenizer.hpp"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct TokenizerTraining {
  Tokenizer::Kind kind = Tokenizer::Kind::bpe;
  int vocabulary = 8192;  // bpe: tokens in all; the other kinds have the size that they have
  /// Get the first ids; the first of them is the separator. Default: <|endoftext|>, none for chars.
  std::optional<std::vector<std::string>> special_tokens = std::nullopt;
  int threads = 0;  // 0 = all cores; the result does not depend on it
};

class TokenizerTrainer {
 public:
  /// UserError when the vocabulary cannot hold the special tokens and the 256 bytes.
  explicit TokenizerTrainer(const TokenizerTraining& training);
  ~TokenizerTrainer();

  /// One or more whole documents. Texts of special tokens separate and are not learned from.
  void add(std::string_view text);
  /// Ids: special tokens, then bytes in GPT-2's order, then merges; or special tokens, then
  /// characters by code point. A bpe vocabulary is smaller than asked where the text has nothing
  /// more to merge.
  std::unique_ptr<Tokenizer> finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isoflop
