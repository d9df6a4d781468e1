// Patterns out of files: what is taken, what is refused, and that none of them hangs.
#include "datasets/tokenizer/split_pattern.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace isoflop {
namespace {

std::vector<std::string> matches(const std::string& pattern, std::string_view text) {
  const SplitPattern compiled(pattern, "field");
  SplitPattern::Matcher matcher(compiled);
  std::vector<std::string> found;
  for (size_t at = 0; at < text.size();) {
    const SplitPattern::Match match = matcher.find(text, at);
    if (match.begin == match.end) break;
    found.emplace_back(text.substr(match.begin, match.end - match.begin));
    at = match.end;
  }
  return found;
}

using Texts = std::vector<std::string>;

TEST(SplitPattern, MatchesAsTheOriginalSyntaxDoes) {
  EXPECT_EQ(matches(R"(\p{N}{1,3})", "12345 6"), (Texts{"123", "45", "6"}));
  EXPECT_EQ(matches(R"((?i:'s|'t)|\s+(?!\S))", "it'S  x"), (Texts{"'S", " "}));
  EXPECT_EQ(matches(R"([^\s\p{L}]+)", "a!?\u00a0b.\u0085c"), (Texts{"!?", "."}));
  EXPECT_EQ(matches(R"(\s)", "a\u180e\u00a0b"), (Texts{"\u00a0"}));  // U+180E is no white space
  EXPECT_EQ(matches(R"([\u4e00-\u4e8c]+)", "\u4e00\u4e8c\u4f60"), (Texts{"\u4e00\u4e8c"}));
  EXPECT_EQ(matches(R"(\p{Han}+)", "a\u4f60\u3001"),
            (Texts{"\u4f60"}));  // the script, no extension
  EXPECT_EQ(matches("(a)(?:b)?", "aab"), (Texts{"a", "ab"}));
  EXPECT_EQ(matches(R"(\.\-\[)", ".-["), (Texts{".-["}));
}

TEST(SplitPattern, RefusesWhatWouldMatchDifferently) {
  for (const char* pattern :
       {"^a",      "a$",      R"(\w+)",     R"(\bword)", R"([\S])",  R"([a[bc]])", R"([a&&b])",
        R"(\1)",   R"(\Q)",   "(?<name>a)", "(?P<n>a)",  "(*VERB)a", "(?(1)a)",    "a{,3}",
        "a{1,3}+", "a{2}?",   "a{x}",       "a{",        R"(\p)",    R"(\pL)",     R"(\p{L=x})",
        R"(\p{})", R"(\u12)", R"(\u{12})",  "a*",        "(?:)",     "a|",         "[]a]"})
    EXPECT_THROW(SplitPattern(pattern, "field"), UserError) << pattern;
  EXPECT_THROW(SplitPattern(std::string(5000, 'a'), "field"), UserError);
}

TEST(SplitPattern, DamagedOnesNameTheField) {
  for (const std::string pattern :
       {"(a", "a)", "[a", "\xff", "+", "a\\", "(?<=a+)b", R"(\p{Nonsense})", R"([z-a])"}) {
    try {
      SplitPattern(pattern, "some.json: field");
      FAIL() << pattern;
    } catch (const FormatError& error) {
      EXPECT_EQ(std::string(error.what()).substr(0, 17), "some.json: field:");
    }
  }
  EXPECT_THROW(SplitPattern(std::string(100, '(') + "a" + std::string(100, ')'), "f"), FormatError);
}

TEST(SplitPattern, ExplosiveOnesGiveUp) {
  EXPECT_THROW(matches("(?:a+)+b", std::string(5000, 'a') + "cb"), UserError);
  EXPECT_THROW(matches("(?:(?:a|aa)+)+b", std::string(5000, 'a') + "cb"), UserError);
}

}  // namespace
}  // namespace isoflop
