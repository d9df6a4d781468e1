// TextStream: tokens in, text out as soon as it is certain.
//
// What comes out is valid UTF-8 and never ends inside a character: up to three bytes wait for the
// rest of theirs. Bytes that cannot become a character are shown as U+FFFD, one for each such byte
// (token ids remain the exact record). Text that may be the beginning of a stop string waits too;
// once one is complete, it and all that follows are dropped.
#pragma once
#include "datasets/tokenizer.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class TextStream {
 public:
  /// The tokenizer outlives it. Empty stop strings are ignored.
  explicit TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops = {});

  /// The text that became certain with this token.
  std::string push(int32_t id);
  /// What still waits, when no more tokens come.
  std::string finish();
  /// A stop string is complete; nothing comes out any more.
  bool stopped() const { return stopped_; }

 private:
  std::string release(bool all);

  const Tokenizer& tokenizer_;
  std::vector<std::string> stops_;
  std::string bytes_;  // not yet characters
  std::string text_;   // characters that wait
  bool stopped_ = false;
};

/// Moves whole characters from the front of `bytes` to the end of `text`; a sequence that is only
/// incomplete stays, unless `all`.
void take_characters(std::string& bytes, std::string& text, bool all);

}  // namespace isoflop
