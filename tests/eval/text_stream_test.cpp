// Text comes out in whole characters, without what may be a stop string.
#include "eval/text_stream.hpp"

#include "core/utf8.hpp"
#include "tests/eval/small_model.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

constexpr char kShown[] = "\xEF\xBF\xBD";  // U+FFFD

/// What comes out for each byte.
std::vector<std::string> pieces(const std::string& bytes, std::vector<std::string> stops = {}) {
  const auto tokenizer = test::byte_tokenizer();
  TextStream stream(*tokenizer, std::move(stops));
  std::vector<std::string> out;
  std::vector<int32_t> ids;
  for (const char c : bytes) {
    ids.clear();
    tokenizer->encode(std::string(1, c), ids);
    for (const int32_t id : ids) out.push_back(stream.push(id));
  }
  out.push_back(stream.finish());
  return out;
}

std::string all(const std::vector<std::string>& texts) {
  std::string text;
  for (const std::string& t : texts) text += t;
  return text;
}

TEST(TextStream, NeverSplitsACharacter) {
  const std::string text = "a\u00e9\u20ac\U0001F600z";
  const auto out = pieces(text);
  EXPECT_EQ(all(out), text);
  for (const std::string& piece : out) EXPECT_EQ(valid_utf8_prefix(piece), piece.size()) << piece;
  EXPECT_EQ(out[0], "a");  // at once
  EXPECT_EQ(out[1], "");   // the first byte of two
  EXPECT_EQ(out[2], "\u00e9");
}

TEST(TextStream, ShowsBytesThatAreNoCharacter) {
  EXPECT_EQ(all(pieces("a\xFFz")), std::string("a") + kShown + "z");
  EXPECT_EQ(pieces("\xFFz")[0], kShown);  // no byte can make it one: at once
  EXPECT_EQ(pieces("\xED\xA0z")[1], std::string(kShown) + kShown);   // a surrogate's beginning
  EXPECT_EQ(all(pieces("\xE2\x82")), std::string(kShown) + kShown);  // cut off at the end
  EXPECT_EQ(all(pieces("\xE2z")), std::string(kShown) + "z");
}

TEST(TextStream, EndsBeforeAStopString) {
  EXPECT_EQ(all(pieces("one two three", {"two"})), "one ");
  EXPECT_EQ(all(pieces("abcabd", {"abd"})), "abc");
  EXPECT_EQ(all(pieces("aab", {"ab", "aab"})), "");
  EXPECT_EQ(all(pieces("never", {"x", ""})), "never");
}

TEST(TextStream, HoldsBackOnlyWhatMayBecomeAStopString) {
  const auto out = pieces("x<y<e", {"<end"});
  EXPECT_EQ(out, (std::vector<std::string>{"x", "", "<y", "", "", "<e"}));
}

TEST(TextStream, SaysNothingAfterAStopString) {
  const auto tokenizer = test::byte_tokenizer();
  TextStream stream(*tokenizer, {"b"});
  std::vector<int32_t> ids;
  tokenizer->encode("abc", ids);
  EXPECT_EQ(stream.push(ids[0]), "a");
  EXPECT_FALSE(stream.stopped());
  EXPECT_EQ(stream.push(ids[1]), "");
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(stream.push(ids[2]) + stream.finish(), "");
}

}  // namespace
}  // namespace isoflop
