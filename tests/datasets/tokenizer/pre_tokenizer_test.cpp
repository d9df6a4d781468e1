#include "datasets/tokenizer/pre_tokenizer.hpp"

#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace isoflop {
namespace {

std::vector<std::string> pieces_of(std::string_view text) {
  static const PreTokenizer rule = PreTokenizer::gpt2();
  PreTokenizer::Splitter splitter(rule);
  splitter.start(text);
  std::vector<std::string> pieces;
  for (std::string_view piece; splitter.next(piece);) pieces.emplace_back(piece);
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(PreTokenizer, SplitsAsGpt2Does) {
  EXPECT_EQ(pieces_of("Hello world"), (Pieces{"Hello", " world"}));
  EXPECT_EQ(pieces_of("I've DON'T don't"), (Pieces{"I", "'ve", " DON", "'", "T", " don", "'t"}));
  EXPECT_EQ(pieces_of("a  b"), (Pieces{"a", " ", " b"}));
  EXPECT_EQ(pieces_of("a\n\n  b\n"), (Pieces{"a", "\n\n ", " b", "\n"}));
  EXPECT_EQ(pieces_of("x \n"), (Pieces{"x", " \n"}));
  EXPECT_EQ(pieces_of("3.14abc!!!"), (Pieces{"3", ".", "14", "abc", "!!!"}));
  EXPECT_EQ(pieces_of(" \u4f60\u597d \u00bd"), (Pieces{" \u4f60\u597d", " \u00bd"}));
  EXPECT_TRUE(pieces_of("").empty());
}

TEST(PreTokenizer, WhitespaceIsTheUnicodeProperty) {
  EXPECT_EQ(pieces_of("a\u00a0b"), (Pieces{"a", "\u00a0", "b"}));
  EXPECT_EQ(pieces_of("a\u3000\u0085b"), (Pieces{"a", "\u3000", "\u0085", "b"}));
  EXPECT_EQ(pieces_of("!\u180e!"), (Pieces{"!\u180e!"}));  // a format character, not a space
  EXPECT_EQ(pieces_of("!\x1c!"), (Pieces{"!\x1c!"}));
}

TEST(PreTokenizer, BytesThatAreNotUtf8StandAlone) {
  EXPECT_EQ(pieces_of("\xff"), (Pieces{"\xff"}));
  EXPECT_EQ(pieces_of("ab\xff\xfe"
                      "cd"),
            (Pieces{"ab", "\xff\xfe", "cd"}));
  EXPECT_EQ(pieces_of("a  \xc3 b"), (Pieces{"a", "  ", "\xc3", " b"}));
}

TEST(PreTokenizer, NoByteIsLost) {
  for (uint64_t round = 0; round < 200; ++round) {
    // Few different bytes make sequences that begin well and end badly likely.
    std::string text = test::random_bytes(round, 300);
    for (char& c : text)
      if (round % 2) c = "a 1\n'\xc3\xa9\xe4\xbd\xa0\xf0\x9f"[static_cast<unsigned char>(c) % 12];
    std::string joined;
    for (const std::string& piece : pieces_of(text)) {
      EXPECT_FALSE(piece.empty());
      joined += piece;
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(PreTokenizer, LongRunsNeedNoStack) {
  for (const char* unit : {"a", " ", "1", "!", "\n", "\u4f60", "\u3000", "\xff"}) {
    std::string text;
    while (text.size() < 3'000'000) text += unit;
    EXPECT_LE(pieces_of(text).size(), 2u) << unit;
    EXPECT_LE(pieces_of(text + "x").size(), 3u) << unit;
  }
}

TEST(PreTokenizer, SafeCutsChangeNoPiece) {
  const std::string text = test::mixed_text();
  const std::vector<std::string> whole = pieces_of(text);
  for (size_t wanted = 1; wanted < text.size(); ++wanted) {
    const size_t cut = PreTokenizer::safe_cut(text, wanted);
    ASSERT_GE(cut, wanted);
    std::vector<std::string> parts = pieces_of(std::string_view(text).substr(0, cut));
    for (const std::string& piece : pieces_of(std::string_view(text).substr(cut)))
      parts.push_back(piece);
    ASSERT_EQ(parts, whole) << "cut at " << cut;
  }
  EXPECT_EQ(PreTokenizer::safe_cut("abc", 1), 3u);
}

}  // namespace
}  // namespace isoflop
