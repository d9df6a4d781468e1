#include "datasets/tokenizer/make_tokenizer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/bpe_tokenizer.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/char_tokenizer.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace isoflop {

namespace {

/// Ids up to this fit every format we write.
constexpr size_t kLargestVocabulary = 1 << 24;

class Maker {
 public:
  Maker(const TokenizerParts& parts, const std::string& origin) : parts_(parts), origin_(origin) {}

  std::unique_ptr<Tokenizer> make() {
    number_tokens();
    mark_added();
    read_tokens();
    vocabulary_.nfc = parts_.nfc;
    const int missing = missing_byte();
    if (missing >= 0) {
      if (!all_characters())
        fail_format("{}: byte 0x{:02X} has no token, so not every text could be encoded", origin_,
                    missing);
      return std::make_unique<CharTokenizer>(std::move(vocabulary_));
    }
    read_merges();
    return std::make_unique<BpeTokenizer>(
        std::move(vocabulary_),
        BpeRules{std::move(merges_), std::move(results_), parts_.rule, parts_.ignore_merges,
                 parts_.unknown},
        origin_);
  }

 private:
  void number_tokens() {
    if (parts_.token_texts.empty()) fail_format("{}: the vocabulary is empty", origin_);
    if (parts_.token_texts.size() > kLargestVocabulary)
      fail_format("{}: {} tokens are more than the {} we take", origin_, parts_.token_texts.size(),
                  kLargestVocabulary);
    for (size_t id = 0; id < parts_.token_texts.size(); ++id) {
      const std::string& text = parts_.token_texts[id];
      if (text.empty()) fail_format("{}: token {} is empty", origin_, id);
      const auto [other, fresh] = ids_.emplace(text, static_cast<int32_t>(id));
      if (!fresh)
        fail_format("{}: tokens {} and {} are both {}", origin_, other->second, id,
                    in_quotes(text));
    }
  }

  void mark_added() {
    vocabulary_.types.resize(parts_.token_texts.size(), TokenType::normal);
    std::vector<AddedToken> added = parts_.added;
    const auto separator = std::find_if(added.begin(), added.end(), [&](const AddedToken& token) {
      return token.special && (parts_.separator < 0 || token.id == parts_.separator);
    });
    if (parts_.separator >= 0 && separator == added.end())
      fail_format("{}: the separator {} is not one of the special tokens", origin_,
                  parts_.separator);
    if (separator != added.end()) std::swap(*separator, added.front());
    std::sort(added.begin() + (separator != added.end()), added.end(),
              [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    for (const AddedToken& token : added) {
      if (token.id < 0 || static_cast<size_t>(token.id) >= parts_.token_texts.size())
        fail_format("{}: added token {} is outside the vocabulary of {}", origin_, token.id,
                    parts_.token_texts.size());
      TokenType& type = vocabulary_.types[static_cast<size_t>(token.id)];
      if (type != TokenType::normal)
        fail_format("{}: added token {} is listed twice", origin_, token.id);
      const std::string& text = parts_.token_texts[static_cast<size_t>(token.id)];
      if (text.size() > AddedTokens::kLongest)
        fail_user("{}: added token {} has a text of {} bytes; at most {} are taken", origin_,
                  token.id, text.size(), AddedTokens::kLongest);
      if (valid_utf8_prefix(text) != text.size())
        fail_format("{}: added token {} {} is not UTF-8", origin_, token.id, in_quotes(text));
      type = token.special ? TokenType::control : TokenType::user;
    }
    vocabulary_.added = std::move(added);
  }

  bool is_normal(size_t id) const { return vocabulary_.types[id] == TokenType::normal; }

  void read_tokens() {
    vocabulary_.tokens = parts_.token_texts;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id)
      if (is_normal(id) && !from_printable(parts_.token_texts[id], vocabulary_.tokens[id]))
        fail_format("{}: token {} {} holds a character that stands for no byte", origin_, id,
                    in_quotes(parts_.token_texts[id]));
  }

  /// The first byte without a token among those that no vocabulary may lack, or -1.
  int missing_byte() const {
    for (int byte = 0; byte <= 0xF0; ++byte) {
      const bool blank = byte == '\t' || byte == '\n' || byte == '\r';
      if ((byte < ' ' && !blank) || byte == 0x7F || byte == 0xC0 || byte == 0xC1) continue;
      const auto found = ids_.find(to_printable(std::string(1, static_cast<char>(byte))));
      if (found == ids_.end() || !is_normal(static_cast<size_t>(found->second))) return byte;
    }
    return -1;
  }

  bool all_characters() const {
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const std::string& token = vocabulary_.tokens[id];
      if (is_normal(id) && static_cast<size_t>(first_code_point(token).bytes) != token.size())
        return false;
    }
    return true;
  }

  int32_t merge_side(size_t merge, std::string_view text) const {
    const auto found = ids_.find(std::string(text));
    if (found == ids_.end() || !is_normal(static_cast<size_t>(found->second)))
      fail_format("{}: merge {}: {} is not a token", origin_, merge, in_quotes(text));
    return found->second;
  }

  void read_merges() {
    MergeTable seen(parts_.merges.size());
    for (size_t i = 0; i < parts_.merges.size(); ++i) {
      const std::string_view merge = parts_.merges[i];
      const size_t space = merge.find(' ');
      if (space == merge.npos || merge.find(' ', space + 1) != merge.npos)
        fail_format("{}: merge {} {} is not two texts with a space between", origin_, i,
                    in_quotes(merge));
      const int32_t left = merge_side(i, merge.substr(0, space));
      const int32_t right = merge_side(i, merge.substr(space + 1));
      merges_.emplace_back(left, right);
      results_.push_back(merge_side(
          i, std::string(merge.substr(0, space)) + std::string(merge.substr(space + 1))));
      if (!seen.add(left, right, {}))
        fail_format("{}: merge {} {} is listed twice", origin_, i, in_quotes(merge));
    }
  }

  const TokenizerParts& parts_;
  const std::string& origin_;
  std::unordered_map<std::string, int32_t> ids_;  // by text
  Vocabulary vocabulary_;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::vector<int32_t> results_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerParts& parts, const std::string& origin) {
  return Maker(parts, origin).make();
}

std::unique_ptr<Tokenizer> make_bpe_tokenizer(std::vector<std::string> token_texts,
                                              std::vector<std::string> merges,
                                              std::vector<int> special_ids,
                                              int separator,
                                              const std::string& origin) {
  TokenizerParts parts{std::move(token_texts), std::move(merges), {}, separator};
  for (const int id : special_ids) parts.added.push_back({.id = id});
  return make_tokenizer(parts, origin);
}

}  // namespace isoflop
