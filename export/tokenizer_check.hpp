// Whether two tokenizers are one: ids and text of a fixed set of awkward texts.
#pragma once
#include "datasets/tokenizer.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct TokenizerCheck {
  int64_t texts = 0;                   // tried, each as plain text and with special tokens in it
  std::vector<std::string> different;  // in quotes, of those whose ids or decoded bytes differ
  /// "NFC" where only the reference normalizes: the texts were put in that form for both, since the
  /// other's readers will not do it.
  std::string form;
};

/// White space, scripts, characters of several code points, bytes that are no UTF-8, numbers, long
/// words, and the special tokens of `reference` alone and within text. A text that both refuse is
/// the same for both.
TokenizerCheck compare_tokenizers(const Tokenizer& reference, const Tokenizer& other);

}  // namespace isoflop
