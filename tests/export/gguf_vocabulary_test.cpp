// Tokenizers as GGUF lists: nothing twice, padding apart, characters of several bytes built by
// merges.
#include "export/gguf_vocabulary.hpp"

#include "core/error.hpp"
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

}  // namespace
}  // namespace isoflop
