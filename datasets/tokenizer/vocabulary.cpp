#include "datasets/tokenizer/vocabulary.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/normalizer.hpp"

#include <utility>

namespace isoflop {

namespace {

/// The added tokens that are looked for before or behind the normalizer.
AddedTokens added_of(const Vocabulary& vocabulary, bool normalized) {
  std::vector<AddedTokens::Token> tokens;
  for (const AddedToken& added : vocabulary.added) {
    if (added.normalized != normalized) continue;
    const std::string& text = vocabulary.tokens[static_cast<size_t>(added.id)];
    tokens.push_back({normalized && vocabulary.nfc ? to_nfc(text) : text, added});
  }
  return AddedTokens(std::move(tokens));
}

}  // namespace

VocabularyTokenizer::VocabularyTokenizer(Vocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)),
      before_(added_of(vocabulary_, false)),
      behind_(added_of(vocabulary_, true)) {}

int VocabularyTokenizer::separator() const {
  for (const AddedToken& added : vocabulary_.added)
    if (added.special) return added.id;
  return -1;
}

void VocabularyTokenizer::encode(std::string_view text,
                                 std::vector<int32_t>& ids,
                                 bool special,
                                 bool more) const {
  before_.split(
      text, special,
      [&](std::string_view plain) {
        const size_t begin = static_cast<size_t>(plain.data() - text.data());
        const bool goes_on = more && begin == 0;
        if (!vocabulary_.nfc || surely_nfc(plain))
          return encode_normalized(text, begin, plain.size(), ids, special, goes_on);
        const std::string normalized = to_nfc(plain);
        encode_normalized(normalized, 0, normalized.size(), ids, special, goes_on);
      },
      [&](int32_t id) { ids.push_back(id); });
}

void VocabularyTokenizer::encode_normalized(std::string_view text,
                                            size_t begin,
                                            size_t size,
                                            std::vector<int32_t>& ids,
                                            bool special,
                                            bool more) const {
  behind_.split(
      text.substr(begin, size), special,
      [&](std::string_view plain) {
        const size_t at = static_cast<size_t>(plain.data() - text.data());
        encode_plain(text, at, plain.size(), more && at == begin, ids);
      },
      [&](int32_t id) { ids.push_back(id); });
}

std::string VocabularyTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += token(id);
  return text;
}

TokenType VocabularyTokenizer::type(int32_t id) const {
  token(id);
  return vocabulary_.types[static_cast<size_t>(id)];
}

std::string VocabularyTokenizer::token_text(int32_t id) const {
  return type(id) == TokenType::normal ? to_printable(token(id)) : token(id);
}

const std::string& VocabularyTokenizer::token(int32_t id) const {
  if (id < 0 || id >= vocabulary())
    fail_user("token id {} is outside the tokenizer's vocabulary of {}", id, vocabulary());
  return vocabulary_.tokens[static_cast<size_t>(id)];
}

uint64_t Tokenizer::hash() const {
  return hash_text(to_json());
}

}  // namespace isoflop
