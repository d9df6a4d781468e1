#include "export/gguf_vocabulary.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "pretrain/gguf_names.hpp"

#include <set>

namespace isoflop {

namespace {

/// Merges that join the bytes of every character, from the left.
std::vector<std::string> character_merges(const Tokenizer& tokenizer) {
  std::vector<std::string> merges;
  std::set<std::string> known;
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
    if (tokenizer.is_special(id)) continue;
    const std::string bytes = tokenizer.token_bytes(id);
    for (size_t length = 1; length < bytes.size(); ++length) {
      const std::string merge =
          to_printable(bytes.substr(0, length)) + " " + to_printable(bytes.substr(length, 1));
      if (known.insert(merge).second) merges.push_back(merge);
    }
  }
  return merges;
}

void add_padding(GgufVocabulary& vocabulary, size_t rows, std::set<std::string>& known) {
  for (size_t number = 0; vocabulary.texts.size() < rows; ++number) {
    const std::string text = fmt::format("[PAD{}]", number);
    if (!known.insert(text).second) continue;  // the tokenizer has such a token
    vocabulary.texts.push_back(text);
    vocabulary.types.push_back(gguf::kUnusedToken);
  }
}

/// Runtimes stop at this id, and take an ordinary token (11) when it is not written.
uint32_t end_of_text(const Tokenizer& tokenizer, GgufVocabulary& vocabulary) {
  if (tokenizer.separator() >= 0) return static_cast<uint32_t>(tokenizer.separator());
  const size_t tokens = static_cast<size_t>(tokenizer.vocabulary());
  const size_t id = vocabulary.texts.size() > tokens ? tokens : tokens - 1;
  vocabulary.notes.push_back(
      fmt::format("the tokenizer has no end of text; runtimes will stop at token {} ({})", id,
                  vocabulary.texts[id]));
  return static_cast<uint32_t>(id);
}

}  // namespace

GgufVocabulary make_gguf_vocabulary(const Tokenizer& tokenizer, int64_t rows) {
  const int tokens = tokenizer.vocabulary();
  if (tokens < 1 || tokens > rows)
    fail_user(
        "the tokenizer has {} tokens and the model's table {} rows; use the tokenizer that the "
        "model was trained with",
        tokens, rows);
  GgufVocabulary vocabulary;
  std::set<std::string> known;
  for (int32_t id = 0; id < tokens; ++id) {
    const std::string text = tokenizer.token_text(id);
    if (text.empty() || !known.insert(text).second)
      fail_user("token {} of the tokenizer has {}, which a GGUF file cannot hold", id,
                text.empty() ? std::string("no text") : "the same text as another, " + text);
    vocabulary.texts.push_back(text);
    vocabulary.types.push_back(tokenizer.is_special(id) ? gguf::kControlToken : gguf::kNormalToken);
  }
  add_padding(vocabulary, narrow<size_t>(rows), known);
  vocabulary.merges =
      tokenizer.kind() == Tokenizer::Kind::chars ? character_merges(tokenizer) : tokenizer.merges();
  vocabulary.end_of_text = end_of_text(tokenizer, vocabulary);
  return vocabulary;
}

}  // namespace isoflop
