// GPT-2's own files against ids that other programs computed.
#include "core/error.hpp"
#include "core/file.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sstream>

namespace isoflop {
namespace {

using test::encode;
using test::Ids;
using test::shared_data;

class Gpt2 : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = shared_data("tokenizer/gpt2");
    if (!folder_) GTEST_SKIP() << test::missing_shared_data("tokenizer/gpt2");
    tokenizer_ = Tokenizer::load(*folder_);
  }
  std::optional<fs::path> folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(Gpt2, HasItsShape) {
  EXPECT_EQ(tokenizer_->kind(), Tokenizer::Kind::bpe);
  EXPECT_EQ(tokenizer_->vocabulary(), 50257);
  EXPECT_EQ(tokenizer_->separator(), 50256);
  EXPECT_TRUE(tokenizer_->is_special(50256));
  EXPECT_FALSE(tokenizer_->is_special(0));
  EXPECT_EQ(tokenizer_->token_bytes(50256), "<|endoftext|>");
  EXPECT_EQ(tokenizer_->token_bytes(262), " the");
  EXPECT_EQ(tokenizer_->token_text(262), "\u0120the");
  EXPECT_EQ(tokenizer_->merges().size(), 50000u);
  EXPECT_EQ(tokenizer_->merges()[0], "\u0120 t");
}

TEST_F(Gpt2, ReferenceEncodings) {
  const auto path = shared_data("ref/gpt2-encodings-30.jsonl");
  if (!path) GTEST_SKIP() << test::missing_shared_data("ref/gpt2-encodings-30.jsonl");
  std::istringstream lines(read_file(*path));
  int cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const auto row = nlohmann::json::parse(line);
    const std::string text = row["text"];
    const Ids ids = encode(*tokenizer_, text);
    EXPECT_EQ(ids, row["ids"].get<Ids>()) << row["id"];
    EXPECT_EQ(tokenizer_->decode(ids), text);
  }
  EXPECT_EQ(cases, 30);
}

TEST_F(Gpt2, LlamaCppReference) {
  const auto in = shared_data("ref/llama.cpp/ggml-vocab-gpt-2.gguf.inp");
  const auto out = shared_data("ref/llama.cpp/ggml-vocab-gpt-2.gguf.out");
  if (!in || !out) GTEST_SKIP() << test::missing_shared_data("ref/llama.cpp");
  const std::string mark = "\n__ggml_vocab_test__\n";
  std::string texts = read_file(*in);
  std::istringstream lines(read_file(*out));
  int cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const size_t end = texts.find(mark);
    ASSERT_NE(end, texts.npos) << "fewer texts than results";
    std::istringstream numbers(line);
    const Ids expected{std::istream_iterator<int32_t>(numbers), {}};
    EXPECT_EQ(encode(*tokenizer_, texts.substr(0, end)), expected) << "text " << cases;
    texts.erase(0, end + mark.size());
  }
  EXPECT_GT(cases, 40);
}

TEST_F(Gpt2, SpecialTextIsPlainUnlessAskedFor) {
  const std::string text = "a<|endoftext|>b<|endof";
  for (const int32_t id : encode(*tokenizer_, text)) EXPECT_NE(id, 50256);
  EXPECT_EQ(encode(*tokenizer_, text, test::Specials::found),
            (Ids{64, 50256, 65, 27, 91, 437, 1659}));
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, text)), text);
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, text, test::Specials::found)), text);
}

TEST_F(Gpt2, EachFileAloneAndTheJsonWeWriteGiveTheSameTokenizer) {
  const std::string json = tokenizer_->to_json();
  EXPECT_EQ(Tokenizer::load(*folder_ / "encoder.json")->to_json(), json);
  EXPECT_EQ(Tokenizer::load(*folder_ / "vocab.bpe")->to_json(), json);
  EXPECT_EQ(Tokenizer::from_json(json, "text")->to_json(), json);

  const test::TempDir other;
  fs::copy_file(*folder_ / "encoder.json", other.path() / "vocab.json");
  fs::copy_file(*folder_ / "vocab.bpe", other.path() / "merges.txt");
  EXPECT_EQ(Tokenizer::load(other.path())->hash(), tokenizer_->hash());
  write_file_atomically(other.path() / "tokenizer.json", json);
  EXPECT_EQ(Tokenizer::load(other.path())->hash(), tokenizer_->hash());
}

TEST_F(Gpt2, RoundTripOfAllLanguages) {
  // The archive itself, as bytes: mostly not UTF-8. (Text in all scripts is covered by the
  // references.)
  const auto zip = shared_data("text/udhr2.zip");
  if (!zip) GTEST_SKIP() << test::missing_shared_data("text/udhr2.zip");
  const std::string bytes = read_file(*zip);
  EXPECT_EQ(tokenizer_->decode(encode(*tokenizer_, bytes)), bytes);
}

TEST_F(Gpt2, DamagedMergesNameTheLine) {
  const test::TempDir folder;
  fs::copy_file(*folder_ / "encoder.json", folder.path() / "encoder.json");
  const auto message = [&](const std::string& merges) -> std::string {
    write_file_atomically(folder.path() / "vocab.bpe", merges);
    try {
      Tokenizer::load(folder.path());
    } catch (const FormatError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message("#version: 0.2\n\u0120 t\nabc\n").find("line 3"), std::string::npos);
  EXPECT_NE(message("\u0120 t\na b c\n").find("line 2"), std::string::npos);
  EXPECT_NE(message("\xff t\n").find("byte 0"), std::string::npos);
  EXPECT_NE(message("zq zq\n").find("merge 0"), std::string::npos);
  EXPECT_NE(message("\u0120 t\n\u0120 t\n").find("twice"), std::string::npos);
}

}  // namespace
}  // namespace isoflop
