// SpecialTokens: finds the texts of special tokens within text, leftmost first, the longest where
// several begin at the same place.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class SpecialTokens {
 public:
  struct Token {
    std::string text;  // not empty
    int32_t id;
  };
  explicit SpecialTokens(std::vector<Token> tokens);

  /// Calls plain(text) for each stretch between special tokens (never empty) and special(id) for
  /// each of those, in order.
  template <class Plain, class Special>
  void split(std::string_view text, Plain&& plain, Special&& special) const {
    size_t begin = 0;
    for (size_t at = 0; at < text.size();) {
      const Token* token =
          starts_[static_cast<unsigned char>(text[at])] ? match(text.substr(at)) : nullptr;
      if (!token) {
        ++at;
        continue;
      }
      if (at > begin) plain(text.substr(begin, at - begin));
      special(token->id);
      begin = at += token->text.size();
    }
    if (begin < text.size()) plain(text.substr(begin));
  }

 private:
  const Token* match(std::string_view text) const;

  std::vector<Token> tokens_;       // longest first
  std::array<bool, 256> starts_{};  // by first byte
};

}  // namespace isoflop
