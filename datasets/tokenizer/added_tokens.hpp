// AddedTokens: finds the texts of tokens that stand beside the merges (special ones, runs of
// spaces) within text, leftmost first, the longest where several begin at the same place.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct AddedToken {
  int32_t id = 0;
  bool special = true;      // else found in every text, asked for or not
  bool normalized = false;  // looked for behind the normalizer, not before it
  bool lstrip = false;      // takes the white space before it along
  bool rstrip = false;      // takes the white space behind it along
};

class AddedTokens {
 public:
  struct Token {
    std::string text;  // not empty, at most kLongest bytes
    AddedToken token;
  };
  /// The longest text of a token; files with longer ones are refused, so that looking for them
  /// stays linear in the text.
  static constexpr size_t kLongest = 1024;

  AddedTokens() = default;
  explicit AddedTokens(std::vector<Token> tokens);

  /// Calls plain(text) for each stretch between the tokens (never empty) and found(id) for each of
  /// those, in order. Without `special`, special tokens are plain text (in which no other token is
  /// looked for).
  template <class Plain, class Found>
  void split(std::string_view text, bool special, Plain&& plain, Found&& found) const {
    Range plain_range{0, 0};
    for (Hit hit; find(text, special, plain_range.end, hit);) {
      plain_range.end = hit.begin;
      if (plain_range.end > plain_range.begin) plain(plain_range.of(text));
      found(hit.id);
      plain_range = {hit.end, hit.end};
    }
    plain_range.end = text.size();
    if (plain_range.end > plain_range.begin) plain(plain_range.of(text));
  }

 private:
  struct Range {
    size_t begin, end;
    std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
  };
  struct Hit {
    size_t begin, end;
    int32_t id;
  };
  /// The first token to report in text from `from` on.
  bool find(std::string_view text, bool special, size_t from, Hit& hit) const;
  const Token* match(std::string_view text) const;

  std::vector<Token> tokens_;  // sorted by text
  std::vector<bool> starts_;   // by the first two bytes, one that is alone with any second
  bool any_ordinary_ = false;
};

}  // namespace isoflop
