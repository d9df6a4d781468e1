#include "core/error.hpp"
#include "core/file.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace isoflop {
namespace {

using test::encode;
using test::train;
using Kind = Tokenizer::Kind;

class RoundTrip : public testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ =
      train({.kind = GetParam(), .vocabulary = 700}, test::mixed_text());
};

TEST_P(RoundTrip, RandomBytes) {
  for (uint64_t round = 0; round < 100; ++round) {
    const std::string text = test::random_bytes(round, round * 13);
    const test::Ids ids = encode(*tokenizer_, text);
    ASSERT_EQ(tokenizer_->decode(ids), text);
    for (const int32_t id : ids) ASSERT_FALSE(tokenizer_->is_special(id));
  }
}

TEST_P(RoundTrip, TokensTellTheirBytes) {
  const std::string text = test::mixed_text() + "<|endoftext|>";
  const test::Ids ids = encode(*tokenizer_, text, test::Specials::found);
  EXPECT_EQ(ids.back(), tokenizer_->separator());
  std::string joined;
  for (const int32_t id : ids) joined += tokenizer_->token_bytes(id);
  EXPECT_EQ(joined, text);
}

TEST_P(RoundTrip, ThreadsMayShareOne) {
  const std::string text = test::mixed_text() + test::random_bytes(5, 5000);
  const test::Ids expected = encode(*tokenizer_, text);
  std::vector<test::Ids> results(4);
  std::vector<std::thread> threads;
  for (test::Ids& result : results)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) result = encode(*tokenizer_, text);
    });
  for (std::thread& thread : threads) thread.join();
  for (const test::Ids& result : results) EXPECT_EQ(result, expected);
}

TEST_P(RoundTrip, IdsOutsideAreRefused) {
  for (const int32_t id : {-1, tokenizer_->vocabulary(), 1 << 30}) {
    EXPECT_THROW(tokenizer_->decode(test::Ids{id}), UserError);
    EXPECT_THROW(tokenizer_->token_bytes(id), UserError);
    EXPECT_THROW(tokenizer_->is_special(id), UserError);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds,
                         RoundTrip,
                         testing::Values(Kind::bytes, Kind::bpe),
                         [](const auto& kind) {
                           return kind.param == Kind::bytes ? "bytes" : "bpe";
                         });

TEST(BpeEncoding, IsTheSameWithAWarmCache) {
  const auto tokenizer = train({.vocabulary = 700}, test::mixed_text());
  std::string text;
  for (uint64_t i = 0; i < 40'000; ++i) {  // more different words than the cache has places
    text += ' ';
    for (uint64_t n = i; n; n /= 26) text += static_cast<char>('a' + n % 26);
  }
  const test::Ids cold = encode(*tokenizer, text);
  EXPECT_EQ(encode(*tokenizer, text), cold);
  EXPECT_EQ(tokenizer->decode(cold), text);
}

TEST(Chars, OneTokenForEachCharacter) {
  const auto tokenizer = train({.kind = Kind::chars}, "h\u00e9llo w\u00f6rld\n\U0001F600\u4f60");
  EXPECT_EQ(tokenizer->kind(), Kind::chars);
  EXPECT_EQ(tokenizer->vocabulary(), 12);
  EXPECT_EQ(tokenizer->separator(), -1);
  EXPECT_EQ(encode(*tokenizer, "\n d\u00e9\u00f6\u4f60\U0001F600"),
            (test::Ids{0, 1, 2, 8, 9, 10, 11}));
  EXPECT_EQ(tokenizer->decode(test::Ids{10, 11, 0}), "\u4f60\U0001F600\n");
  EXPECT_EQ(tokenizer->token_bytes(8), "\u00e9");
  EXPECT_EQ(tokenizer->token_text(1), "\u0120");
}

TEST(Chars, UnknownCharacterIsNamedWithItsPlace) {
  const auto tokenizer = train({.kind = Kind::chars}, "abc\u00e9");
  const auto message = [&](std::string_view text) -> std::string {
    try {
      encode(*tokenizer, text);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("ab\u00e9\u00e8").find("U+00E8 \"\u00e8\" at byte 4"), std::string::npos);
  EXPECT_NE(message("a\xff").find("byte 0xFF at byte 1"), std::string::npos);
  EXPECT_NE(message("z").find("U+007A \"z\" at byte 0"), std::string::npos);
  EXPECT_NE(message("\U0010FFFF").find("U+10FFFF"), std::string::npos);
  EXPECT_EQ(message("cab"), "");
}

TEST(Chars, SpecialTokensComeFirstAndCountNoCharacters) {
  const auto tokenizer =
      train({.kind = Kind::chars, .special_tokens = std::vector<std::string>{"<|endoftext|>"}},
            "ab<|endoftext|>");
  EXPECT_EQ(tokenizer->vocabulary(), 3);
  EXPECT_EQ(encode(*tokenizer, "ba<|endoftext|>", test::Specials::found), (test::Ids{2, 1, 0}));
}

TEST(Chars, TinyShakespeareHasSixtyFive) {
  const auto path = test::shared_data("text/tinyshakespeare.txt");
  if (!path) GTEST_SKIP() << test::missing_shared_data("text/tinyshakespeare.txt");
  const std::string text = read_file(*path);
  const auto tokenizer = train({.kind = Kind::chars}, text);
  EXPECT_EQ(tokenizer->vocabulary(), 65);
  EXPECT_EQ(encode(*tokenizer, text).size(), text.size());
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)), text);
}

}  // namespace
}  // namespace isoflop
