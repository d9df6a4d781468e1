// GPT-NeoX's tokenizer.json against ids that other programs computed.
#include "tests/datasets/tokenizer/reference_encodings.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using test::encode;
using test::Ids;
using test::shared_data;

class Neox : public testing::Test {
 protected:
  void SetUp() override {
    const auto file = shared_data("tokenizer/neox20b/20B_tokenizer.json");
    if (!file) GTEST_SKIP() << test::missing_shared_data("tokenizer/neox20b");
    tokenizer_ = Tokenizer::load(*file);
  }
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(Neox, HasItsShape) {
  EXPECT_EQ(tokenizer_->vocabulary(), 50277);
  EXPECT_EQ(tokenizer_->separator(), 0);
  EXPECT_EQ(tokenizer_->rules().split, "gpt-2");
  EXPECT_EQ(tokenizer_->rules().normalizer, "NFC");
  EXPECT_EQ(tokenizer_->type(1), TokenType::control);
  EXPECT_EQ(tokenizer_->type(50276), TokenType::user);
  EXPECT_EQ(tokenizer_->token_bytes(50275), "   ");
}

TEST_F(Neox, ReferenceEncodings) {
  test::expect_reference_encodings(*tokenizer_, "ref/neox20b-encodings-30.jsonl");
}

TEST_F(Neox, RunsOfSpacesAreTokensOfTheirOwn) {
  EXPECT_EQ(encode(*tokenizer_, "  "), (Ids{50276}));
  EXPECT_EQ(encode(*tokenizer_, std::string(24 + 3, ' ')), (Ids{50254, 50275}));
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, "a   b  c ")), "a   b  c ");
}

TEST_F(Neox, TextIsNormalized) {
  EXPECT_EQ(encode(*tokenizer_, "cafe\u0301"), encode(*tokenizer_, "caf\u00e9"));
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, "e\u0301")), "\u00e9");
}

TEST_F(Neox, TheJsonWeWriteGivesTheSameTokenizer) {
  const auto again = Tokenizer::from_json(tokenizer_->to_json(), "text");
  EXPECT_EQ(again->hash(), tokenizer_->hash());
  test::expect_reference_encodings(*again, "ref/neox20b-encodings-30.jsonl");
}

}  // namespace
}  // namespace isoflop
