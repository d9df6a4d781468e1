#include "datasets/tokenizer/added_tokens.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

/// Plain text as it is, tokens as <id>.
std::string split(const AddedTokens& tokens, std::string_view text, bool special = true) {
  std::string result;
  tokens.split(
      text, special, [&](std::string_view plain) { result += "[" + std::string(plain) + "]"; },
      [&](int32_t id) { result += "<" + std::to_string(id) + ">"; });
  return result;
}

TEST(AddedTokens, LeftmostThenLongest) {
  const AddedTokens tokens(
      {{"ab", {.id = 1}}, {"abcd", {.id = 2}}, {"bc", {.id = 3}}, {"x", {.id = 4}}});
  EXPECT_EQ(split(tokens, "abcd"), "<2>");
  EXPECT_EQ(split(tokens, "abc"), "<1>[c]");
  EXPECT_EQ(split(tokens, "zbcabx"), "[z]<3><1><4>");
  EXPECT_EQ(split(tokens, "no"), "[no]");
  EXPECT_EQ(split(tokens, ""), "");
  EXPECT_EQ(split(AddedTokens(), "abc"), "[abc]");
}

TEST(AddedTokens, SpecialOnesOnlyWhenAskedFor) {
  const AddedTokens tokens({{"<s>", {.id = 1}}, {"  ", {.id = 2, .special = false}}});
  EXPECT_EQ(split(tokens, "a  <s>  b", true), "[a]<2><1><2>[b]");
  EXPECT_EQ(split(tokens, "a  <s>  b", false), "[a]<2>[<s>]<2>[b]");
  const AddedTokens overlapping({{"x  y", {.id = 1}}, {"  ", {.id = 2, .special = false}}});
  EXPECT_EQ(split(overlapping, "x  y  ", false), "[x  y]<2>");
}

TEST(AddedTokens, TakeTheSpaceBesideThem) {
  const AddedTokens tokens(
      {{"<l>", {.id = 1, .lstrip = true}}, {"<r>", {.id = 2, .rstrip = true}}});
  EXPECT_EQ(split(tokens, "a \u00a0<l> b"), "[a]<1>[ b]");
  EXPECT_EQ(split(tokens, "a <r>\n\u3000b"), "[a ]<2>[b]");
  EXPECT_EQ(split(tokens, "<r>  <l>"), "<2><1>");
  EXPECT_EQ(split(tokens, " \xa0<l>"), "[ \xa0]<1>");  // a lone continuation byte is no space
}

TEST(AddedTokens, BytesAboveSevenBitsSortAsBytes) {
  const AddedTokens tokens({{"\u00e9t", {.id = 1}}, {"\u00e9", {.id = 2}}, {"z", {.id = 3}}});
  EXPECT_EQ(split(tokens, "\u00e9tz\u00e9"), "<1><3><2>");
}

}  // namespace
}  // namespace isoflop
