#include "export/gguf_vocabulary.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"

#include <set>

namespace isoflop {

namespace {

int type_of(TokenType type) {
  switch (type) {
    case TokenType::unknown:
      return gguf::kUnknownToken;
    case TokenType::control:
      return gguf::kControlToken;
    case TokenType::user:
      return gguf::kUserToken;
    case TokenType::unused:
      return gguf::kUnusedToken;
    case TokenType::byte:
      return gguf::kByteToken;
    case TokenType::normal:
      break;
  }
  return gguf::kNormalToken;
}

/// Which of the runtimes' tokenizers this is.
void describe_byte_level(const Tokenizer& tokenizer, GgufVocabulary& vocabulary) {
  const TokenizerRules rules = tokenizer.rules();
  vocabulary.model = gguf::kByteLevelModel;
  vocabulary.splitting = rules.split.empty() ? std::string(gguf::kGpt2Splitting) : rules.split;
  vocabulary.merges = tokenizer.merges();
  if (rules.split == "own")
    fail_user(
        "the tokenizer splits text by patterns of its own, which a GGUF file can only name; it "
        "knows gpt-2, llama-bpe, qwen2 and smollm");
  if (rules.ignore_merges != (rules.split == "llama-bpe"))
    fail_user("runtimes {} ignore_merges with the splitting rule {}, this tokenizer does not",
              rules.split == "llama-bpe" ? "always" : "never", rules.split);
  if (rules.normalizer.empty()) return;
  // The name under which runtimes know GPT-NeoX's vocabulary; the rule is GPT-2's.
  if (vocabulary.splitting == gguf::kGpt2Splitting) vocabulary.splitting = "olmo";
  vocabulary.notes.push_back(fmt::format(
      "runtimes do not normalize text ({}): where it is not normalized they give other ids",
      rules.normalizer));
}

void describe_pieces(const Tokenizer& tokenizer, GgufVocabulary& vocabulary) {
  const TokenizerRules rules = tokenizer.rules();
  if (!rules.byte_fallback)
    fail_user(
        "the tokenizer has no bytes for characters without a piece, at which runtimes fail; train "
        "with one that has byte fallback to export to GGUF");
  vocabulary.model = gguf::kPieceModel;
  vocabulary.space_prefix = rules.space_prefix;
  vocabulary.collapse_spaces = rules.collapse_spaces;
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
    vocabulary.scores.push_back(tokenizer.score(id));
    if (tokenizer.type(id) == TokenType::unknown && vocabulary.unknown < 0) vocabulary.unknown = id;
  }
  if (rules.collapse_spaces)
    vocabulary.notes.push_back(
        "runtimes keep runs of spaces, which the tokenizer makes one: text with them gets other "
        "ids");
}

void add_padding(GgufVocabulary& vocabulary, size_t rows, std::set<std::string>& known) {
  for (size_t number = 0; vocabulary.texts.size() < rows; ++number) {
    const std::string text = fmt::format("[PAD{}]", number);
    if (!known.insert(text).second) continue;  // the tokenizer has such a token
    vocabulary.texts.push_back(text);
    vocabulary.types.push_back(gguf::kUnusedToken);
    if (!vocabulary.scores.empty()) vocabulary.scores.push_back(0);
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
    vocabulary.types.push_back(type_of(tokenizer.type(id)));
  }
  tokenizer.kind() == Tokenizer::Kind::sentencepiece ? describe_pieces(tokenizer, vocabulary)
                                                     : describe_byte_level(tokenizer, vocabulary);
  add_padding(vocabulary, narrow<size_t>(rows), known);
  vocabulary.end_of_text = end_of_text(tokenizer, vocabulary);
  return vocabulary;
}

void put_tokenizer_keys(GgufWriter& writer, const GgufVocabulary& vocabulary) {
  writer.put_text(gguf::kTokenizerModel, vocabulary.model);
  writer.put_texts(gguf::kTokens, vocabulary.texts);
  writer.put_i32s(gguf::kTokenTypes, vocabulary.types);
  if (vocabulary.model == gguf::kPieceModel) {
    writer.put_f32s(gguf::kScores, vocabulary.scores);
    writer.put_boolean(gguf::kSpacePrefix, vocabulary.space_prefix);
    writer.put_boolean(gguf::kCollapseSpaces, vocabulary.collapse_spaces);
    if (vocabulary.unknown >= 0)
      writer.put_u32(gguf::kUnknownId, static_cast<uint32_t>(vocabulary.unknown));
  } else {
    writer.put_text(gguf::kSplitting, vocabulary.splitting);
    writer.put_texts(gguf::kMerges, vocabulary.merges);
  }
  writer.put_u32(gguf::kBosId, vocabulary.end_of_text);
  writer.put_u32(gguf::kEosId, vocabulary.end_of_text);
  writer.put_boolean(gguf::kAddBos, false);
  writer.put_boolean(gguf::kAddEos, false);
}

}  // namespace isoflop
