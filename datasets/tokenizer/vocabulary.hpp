// What every kind of tokenizer has: numbered tokens, some of them added beside the merges, one of
// the special ones the separator.
#pragma once
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/added_tokens.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct Vocabulary {
  std::vector<std::string> tokens;  // by id: the bytes, or an added token's text; all different
  std::vector<TokenType> types;     // by id
  std::vector<AddedToken> added;    // the separator first, then by id
  bool nfc = false;                 // whether text is put in normalization form C
};

/// A Tokenizer but for the encoding of plain text and the file form.
class VocabularyTokenizer : public Tokenizer {
 public:
  explicit VocabularyTokenizer(Vocabulary vocabulary);
  int vocabulary() const override { return static_cast<int>(vocabulary_.tokens.size()); }
  int separator() const override;
  void encode(std::string_view text, std::vector<int32_t>& ids, bool special) const override {
    encode(text, ids, special, false);
  }
  void encode_more(std::string_view text, std::vector<int32_t>& ids) const override {
    encode(text, ids, false, true);
  }
  std::string decode(std::span<const int32_t> ids) const override;
  std::string token_bytes(int32_t id) const override { return token(id); }
  bool is_special(int32_t id) const override { return type(id) == TokenType::control; }
  TokenType type(int32_t id) const override;
  std::string token_text(int32_t id) const override;

 protected:
  /// Appends the ids of text.substr(begin, size), in which nothing is added. `more`: a document
  /// goes on there (encode_more).
  virtual void encode_plain(std::string_view text,
                            size_t begin,
                            size_t size,
                            bool more,
                            std::vector<int32_t>& ids) const = 0;
  const Vocabulary& parts() const { return vocabulary_; }

 private:
  const std::string& token(int32_t id) const;  // UserError when there is no such id
  void encode(std::string_view text, std::vector<int32_t>& ids, bool special, bool more) const;
  void encode_normalized(std::string_view text,
                         size_t begin,
                         size_t size,
                         std::vector<int32_t>& ids,
                         bool special,
                         bool more) const;

  Vocabulary vocabulary_;
  AddedTokens before_, behind_;  // found before and behind the normalizer
};

}  // namespace isoflop
