#include "datasets/tokenizer/vocabulary.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"
#include "datasets/tokenizer/byte_text.hpp"

#include <utility>

namespace isoflop {

namespace {

SpecialTokens specials_of(const Vocabulary& vocabulary) {
  std::vector<SpecialTokens::Token> tokens;
  for (const int32_t id : vocabulary.special_ids)
    tokens.push_back({vocabulary.tokens[static_cast<size_t>(id)], id});
  return SpecialTokens(std::move(tokens));
}

}  // namespace

VocabularyTokenizer::VocabularyTokenizer(Vocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), specials_(specials_of(vocabulary_)) {}

int VocabularyTokenizer::separator() const {
  return vocabulary_.special_ids.empty() ? -1 : vocabulary_.special_ids[0];
}

void VocabularyTokenizer::encode(std::string_view text,
                                 std::vector<int32_t>& ids,
                                 bool special) const {
  if (!special) return encode_plain(text, 0, text.size(), ids);
  specials_.split(
      text,
      [&](std::string_view plain) {
        encode_plain(text, static_cast<size_t>(plain.data() - text.data()), plain.size(), ids);
      },
      [&](int32_t id) { ids.push_back(id); });
}

std::string VocabularyTokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += token(id);
  return text;
}

bool VocabularyTokenizer::is_special(int32_t id) const {
  token(id);
  return vocabulary_.is_special[static_cast<size_t>(id)];
}

std::string VocabularyTokenizer::token_text(int32_t id) const {
  return is_special(id) ? token(id) : to_printable(token(id));
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
