#include "datasets/tokenizer/added_tokens.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/char_class.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

namespace {

size_t pair_of(char first, char second) {
  return static_cast<size_t>(static_cast<unsigned char>(first)) << 8 |
         static_cast<unsigned char>(second);
}

bool space_at(std::string_view text, size_t at, size_t& bytes) {
  const CodePoint point = first_code_point(text.substr(at));
  bytes = static_cast<size_t>(point.bytes);
  return bytes > 0 && class_of(point.value) == CharClass::space;
}

size_t skip_space(std::string_view text, size_t at) {
  for (size_t bytes; at < text.size() && space_at(text, at, bytes);) at += bytes;
  return at;
}

size_t skip_space_back(std::string_view text, size_t at, size_t stop) {
  while (at > stop) {
    size_t begin = at - 1, bytes = 0;
    while (begin > stop && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!space_at(text, begin, bytes) || begin + bytes != at) break;
    at = begin;
  }
  return at;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  if (tokens_.empty()) return;
  std::sort(tokens_.begin(), tokens_.end(),
            [](const Token& a, const Token& b) { return a.text < b.text; });
  starts_.resize(1 << 16);
  for (const Token& token : tokens_) {
    ISOFLOP_CHECK(!token.text.empty() && token.text.size() <= kLongest,
                  "an added token of {} bytes", token.text.size());
    any_ordinary_ = any_ordinary_ || !token.token.special;
    if (token.text.size() > 1)
      starts_[pair_of(token.text[0], token.text[1])] = true;
    else
      for (int second = 0; second < 256; ++second)
        starts_[pair_of(token.text[0], static_cast<char>(second))] = true;
  }
}

bool AddedTokens::find(std::string_view text, bool special, size_t from, Hit& hit) const {
  if (tokens_.empty() || (!special && !any_ordinary_)) return false;
  for (size_t at = from; at < text.size();) {
    const bool may_start = at + 1 == text.size() || starts_[pair_of(text[at], text[at + 1])];
    const Token* token = may_start ? match(text.substr(at)) : nullptr;
    if (!token) {
      ++at;
      continue;
    }
    hit = {at, at + token->text.size(), token->token.id};
    at = hit.end;
    if (token->token.special && !special) continue;
    if (token->token.lstrip) hit.begin = skip_space_back(text, hit.begin, from);
    if (token->token.rstrip) hit.end = skip_space(text, hit.end);
    return true;
  }
  return false;
}

/// The longest token that `text` begins with: of the sorted texts, those that share ever more bytes
/// with it.
const AddedTokens::Token* AddedTokens::match(std::string_view text) const {
  const Token* longest = nullptr;
  auto begin = tokens_.begin(), end = tokens_.end();
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte_of = [i](const Token& token) {
      return static_cast<unsigned char>(token.text[i]);
    };
    const unsigned char byte = static_cast<unsigned char>(text[i]);
    begin = std::lower_bound(
        begin, end, byte, [&](const Token& token, unsigned char b) { return byte_of(token) < b; });
    end = std::upper_bound(begin, end, byte,
                           [&](unsigned char b, const Token& token) { return b < byte_of(token); });
    if (begin == end) break;
    if (begin->text.size() == i + 1) longest = &*begin++;
  }
  return longest;
}

}  // namespace isoflop
