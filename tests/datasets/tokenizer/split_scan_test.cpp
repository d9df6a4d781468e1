// The rules written out against their regular expressions.
#include "datasets/tokenizer/split_scan.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/char_class.hpp"
#include "datasets/tokenizer/pre_tokenizer.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using Kind = SplitStep::Kind;
using Pieces = std::vector<std::string>;

Pieces pieces_of(const SplitRule& rule, std::string_view text) {
  const PreTokenizer pre_tokenizer(rule);
  PreTokenizer::Splitter splitter(pre_tokenizer);
  splitter.start(text);
  Pieces pieces;
  for (std::string_view piece; splitter.next(piece);) pieces.emplace_back(piece);
  return pieces;
}

/// Text of what the rules tell apart, in every order that chance gives.
std::string torture(uint64_t stream) {
  const std::vector<std::string> parts = {
      " ",      "  ",  "\t",         "\n",     "\r", "\u00a0", "\u3000", "\u0085",  "\u2028",
      "\u180e", "'s",  "'S",         "'",      "re", "LL",     "\u017f", "'\u017f", "ve",
      "1",      "23",  "\u0663",     "\u00bd", "a",  "B",      "\u00e9", "\u4f60",  "e\u0301",
      "!",      "...", "\U0001F600", "\u200b", "-",  "d",      "M"};
  std::string text;
  for (uint64_t i = 0; i < 40; ++i)
    text += parts[static_cast<size_t>(uniform01(3, stream, i) * static_cast<double>(parts.size()))];
  return text;
}

TEST(SplitScan, EqualsThePatterns) {
  for (const Kind kind : {Kind::gpt2, Kind::llama3, Kind::qwen2}) {
    const SplitRule scanned{{{kind, {}}}};
    const SplitRule matched{{{Kind::pattern, pattern_of(kind)}}};
    for (uint64_t stream = 0; stream < 3000; ++stream) {
      const std::string text = torture(stream);
      ASSERT_EQ(pieces_of(scanned, text), pieces_of(matched, text)) << in_quotes(text);
    }
  }
}

TEST(SplitScan, NumbersStandAlone) {
  const SplitRule single{{{Kind::numbers, {}}}};
  const SplitRule runs{{{Kind::number_runs, {}}}};
  EXPECT_EQ(pieces_of(single, "a12b \u00bd"), (Pieces{"a", "1", "2", "b ", "\u00bd"}));
  EXPECT_EQ(pieces_of(runs, "a12b \u00bd"), (Pieces{"a", "12", "b ", "\u00bd"}));
  EXPECT_EQ(pieces_of({{{Kind::pattern, R"(\p{N})"}}}, "a12b"), pieces_of(single, "a12b"));
}

TEST(SplitRule, StepsCutWhatTheOnesBeforeLeave) {
  // The run of spaces ends where the number begins, so all of it is one piece.
  EXPECT_EQ(pieces_of(SplitRule::named("smollm"), "ab  12 c"),
            (Pieces{"ab", "  ", "1", "2", " c"}));
  EXPECT_EQ(pieces_of(SplitRule::named("gpt-2"), "ab  12 c"), (Pieces{"ab", " ", " 12", " c"}));
  EXPECT_EQ(pieces_of(SplitRule::named("llama-bpe"), "1234\n\n x"),
            (Pieces{"123", "4", "\n\n", " x"}));
  EXPECT_EQ(pieces_of(SplitRule::named("qwen2"), "12 !\n\nI'LL"),
            (Pieces{"1", "2", " !\n\n", "I", "'LL"}));
  EXPECT_EQ(pieces_of({{{Kind::literal, "ab"}}}, "xababy"), (Pieces{"x", "ab", "ab", "y"}));
  EXPECT_EQ(pieces_of({{{Kind::numbers, {}}, {Kind::space_prefix, {}}}}, "a1 b"),
            (Pieces{" a", " 1", " b"}));
  EXPECT_EQ(pieces_of({}, "any text"), (Pieces{"any text"}));
  EXPECT_EQ(pieces_of(SplitRule::named("smollm"),
                      "a\xff"
                      "1"),
            (Pieces{"a", "\xff", "1"}));
}

TEST(SplitRule, NamesAndAliases) {
  for (const char* name : {"gpt-2", "llama-bpe", "qwen2", "smollm"})
    EXPECT_EQ(SplitRule::named(name).name(), name);
  EXPECT_EQ(SplitRule::named("olmo").name(), "gpt-2");
  EXPECT_EQ((SplitRule{{{Kind::number_runs, {}}}}).name(), "");
  EXPECT_FALSE(SplitRule::find("nonsense"));
  EXPECT_THROW(SplitRule::named("nonsense"), UserError);
}

TEST(CharClass, OfSomeCharacters) {
  EXPECT_EQ(class_of(U'a'), CharClass::letter);
  EXPECT_EQ(class_of(0x4f60), CharClass::letter);
  EXPECT_EQ(class_of(0x00bd), CharClass::number);
  EXPECT_EQ(class_of(0x2028), CharClass::space);
  EXPECT_EQ(class_of(0x0085), CharClass::space);
  EXPECT_EQ(class_of(0x180e), CharClass::other);
  EXPECT_EQ(class_of(0x0301), CharClass::other);  // a mark is no letter
  EXPECT_EQ(class_of(0x10ffff), CharClass::other);
}

}  // namespace
}  // namespace isoflop
