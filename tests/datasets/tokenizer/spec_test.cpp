#include "datasets/tokenizer/spec.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using Kind = Tokenizer::Kind;

TEST(TokenizerSpec, KnowsItsForms) {
  EXPECT_TRUE(parse_tokenizer_spec("bytes").trained());
  EXPECT_EQ(parse_tokenizer_spec("bytes").kind, Kind::bytes);
  EXPECT_EQ(parse_tokenizer_spec("chars").kind, Kind::chars);
  EXPECT_EQ(parse_tokenizer_spec("bpe:8192").kind, Kind::bpe);
  EXPECT_EQ(parse_tokenizer_spec("bpe:8192").vocabulary, 8192);
  EXPECT_EQ(parse_tokenizer_spec("bpe:257").vocabulary, 257);
  EXPECT_EQ(parse_tokenizer_spec("gpt2/tokenizer.json").file, "gpt2/tokenizer.json");
  EXPECT_FALSE(parse_tokenizer_spec("gpt2").trained());
}

TEST(TokenizerSpec, RefusesTheRest) {
  for (const char* text : {"", "bpe", "bpe:", "bpe:x", "bpe:256", "bpe:-1", "bpe:8192x",
                           "bpe: 8192", "bpe:1000001", "bpe:99999999999999999999"})
    EXPECT_THROW(parse_tokenizer_spec(text), UserError) << text;
}

}  // namespace
}  // namespace isoflop
