// Tokenizers as GGUF lists: nothing twice, padding apart, characters of several bytes built by
// merges.
#include "export/gguf_vocabulary.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/piece_tokenizer.hpp"
#include "pretrain/gguf_names.hpp"
#include "tests/export/tokenizers.hpp"

#include <gtest/gtest.h>

#include <set>

namespace isoflop {
namespace {

TEST(GgufVocabulary, ByteLevelTokenizerAsItIs) {
  const auto tokenizer = byte_level_tokenizer();
  const GgufVocabulary v = make_gguf_vocabulary(*tokenizer, 260);
  EXPECT_EQ(v.texts.size(), 260u);
  EXPECT_EQ(v.texts[0], "<|endoftext|>");
  EXPECT_EQ(v.texts[259], "\u0120the");
  EXPECT_EQ(v.merges, tokenizer->merges());
  EXPECT_EQ(v.types[0], gguf::kControlToken);
  EXPECT_EQ(v.types[1], gguf::kNormalToken);
  EXPECT_EQ(v.end_of_text, 0u);
  EXPECT_TRUE(v.notes.empty());
  EXPECT_THROW(make_gguf_vocabulary(*tokenizer, 259), UserError);
}

TEST(GgufVocabulary, PaddingAvoidsTokensOfThatName) {
  std::vector<std::string> texts = {"[PAD1]"};
  for (int byte = 0; byte < 256; ++byte)
    texts.push_back(to_printable(std::string(1, static_cast<char>(byte))));
  const auto tokenizer = make_bpe_tokenizer(texts, {}, {}, -1);
  const GgufVocabulary v = make_gguf_vocabulary(*tokenizer, 260);
  EXPECT_EQ(std::set<std::string>(v.texts.begin(), v.texts.end()).size(), 260u);
  EXPECT_EQ(v.texts[257], "[PAD0]");
  EXPECT_EQ(v.texts[258], "[PAD2]");
  EXPECT_EQ(v.types[258], gguf::kUnusedToken);
  EXPECT_EQ(v.end_of_text, 257u);  // no separator: padding is the token that does least harm
  EXPECT_EQ(v.notes.size(), 1u);
}

TEST(GgufVocabulary, AsciiCharactersNeedNoMerges) {
  const GgufVocabulary v = make_gguf_vocabulary(*character_tokenizer({"\n", " ", "a", "b"}), 4);
  EXPECT_EQ(v.texts, (std::vector<std::string>{"\u010A", "\u0120", "a", "b"}));
  EXPECT_TRUE(v.merges.empty());
  EXPECT_EQ(v.end_of_text, 3u);
}

TEST(GgufVocabulary, LongerCharactersAreBuiltByMerges) {
  const GgufVocabulary v =
      make_gguf_vocabulary(*character_tokenizer({"a", "\u00e9", "\u20ac", "\u20ad"}), 4);
  // e acute is C3 A9; the currency signs E2 82 AC and E2 82 AD share their first merge.
  EXPECT_EQ(v.texts[1], to_printable("\u00e9"));
  EXPECT_EQ(v.merges,
            (std::vector<std::string>{to_printable("\xC3") + " " + to_printable("\xA9"),
                                      to_printable("\xE2") + " " + to_printable("\x82"),
                                      to_printable("\xE2\x82") + " " + to_printable("\xAC"),
                                      to_printable("\xE2\x82") + " " + to_printable("\xAD")}));
}

TEST(GgufVocabulary, TheSplittingRuleTravelsByName) {
  TokenizerParts parts;
  for (int byte = 0; byte < 256; ++byte)
    parts.token_texts.push_back(to_printable(std::string(1, static_cast<char>(byte))));
  parts.token_texts.insert(parts.token_texts.end(), {"<end>", "  "});
  parts.added = {{.id = 256}, {.id = 257, .special = false, .normalized = true}};
  const auto vocabulary_of = [&](const SplitRule& rule, bool nfc, bool ignore_merges) {
    parts.rule = rule;
    parts.nfc = nfc;
    parts.ignore_merges = ignore_merges;
    return make_gguf_vocabulary(*make_tokenizer(parts, "parts"), 260);
  };
  for (const char* name : {"gpt-2", "qwen2", "smollm"})
    EXPECT_EQ(vocabulary_of(SplitRule::named(name), false, false).splitting, name);
  EXPECT_EQ(vocabulary_of(SplitRule::named("llama-bpe"), false, true).splitting, "llama-bpe");
  EXPECT_THROW(vocabulary_of(SplitRule::named("llama-bpe"), false, false), UserError);
  EXPECT_THROW(vocabulary_of(SplitRule::named("gpt-2"), false, true), UserError);
  EXPECT_THROW(vocabulary_of(SplitRule{}, false, false), UserError);

  const GgufVocabulary neox = vocabulary_of(SplitRule::named("gpt-2"), true, false);
  EXPECT_EQ(neox.splitting, "olmo");
  EXPECT_EQ(neox.notes.size(), 1u);
  EXPECT_EQ(neox.texts[257], "  ");
  EXPECT_EQ(neox.types[257], gguf::kUserToken);
}

TEST(GgufVocabulary, PiecesWithTheirScores) {
  PieceModel model;
  model.pieces = {{"<unk>", 0, TokenType::unknown}, {"</s>", 0, TokenType::control}};
  for (int byte = 0; byte < 256; ++byte)
    model.pieces.push_back({fmt::format("<0x{:02X}>", byte), 0, TokenType::byte});
  model.pieces.push_back({"\u2581a", -1, TokenType::normal});
  const GgufVocabulary v = make_gguf_vocabulary(*make_piece_tokenizer(model, "pieces"), 260);
  EXPECT_EQ(v.model, gguf::kPieceModel);
  EXPECT_EQ(v.texts[258], "\u2581a");
  EXPECT_EQ(v.scores.size(), 260u);
  EXPECT_EQ(v.scores[258], -1);
  EXPECT_EQ(v.types[0], gguf::kUnknownToken);
  EXPECT_EQ(v.types[2], gguf::kByteToken);
  EXPECT_EQ(v.types[259], gguf::kUnusedToken);
  EXPECT_EQ(v.end_of_text, 1u);
  EXPECT_EQ(v.unknown, 0);
  EXPECT_TRUE(v.space_prefix);
  EXPECT_TRUE(v.merges.empty());
  model.pieces.erase(model.pieces.begin() + 2, model.pieces.begin() + 258);
  EXPECT_THROW(make_gguf_vocabulary(*make_piece_tokenizer(model, "pieces"), 3), UserError);
}

}  // namespace
}  // namespace isoflop
