// The tokenizer keys of GGUF files: by model and rule, and damaged ones.
#include "datasets/tokenizer/gguf_tokenizer.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "tests/datasets/tokenizer/reference_encodings.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using test::encode;
using test::Ids;

struct Keys {
  std::string model = "gpt2";
  std::string rule = "gpt-2";
  std::vector<std::string> texts = byte_texts();
  std::vector<int32_t> types = std::vector<int32_t>(texts.size(), gguf::kNormalToken);
  std::vector<std::string> merges = {};
  std::vector<float> scores = {};
  uint32_t end = 0;

  static std::vector<std::string> byte_texts() {
    std::vector<std::string> texts;
    for (int byte = 0; byte < 256; ++byte)
      texts.push_back(to_printable(std::string(1, static_cast<char>(byte))));
    return texts;
  }
  void add(const std::string& text, int32_t type) {
    texts.push_back(text);
    types.push_back(type);
  }
};

class GgufTokenizer : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> read(const Keys& keys) {
    GgufWriter writer(folder_.path() / "t.gguf");
    writer.put_text(gguf::kTokenizerModel, keys.model);
    if (!keys.rule.empty()) writer.put_text(gguf::kSplitting, keys.rule);
    writer.put_texts(gguf::kTokens, keys.texts);
    writer.put_i32s(gguf::kTokenTypes, keys.types);
    if (keys.model == "gpt2") writer.put_texts(gguf::kMerges, keys.merges);
    if (!keys.scores.empty()) writer.put_f32s(gguf::kScores, keys.scores);
    writer.put_u32(gguf::kEosId, keys.end);
    writer.finish();
    return Tokenizer::load(folder_.path() / "t.gguf");
  }
  test::TempDir folder_;
};

TEST_F(GgufTokenizer, ByteLevelWithEachRule) {
  Keys keys;
  keys.add("12", gguf::kNormalToken);
  keys.merges = {"1 2"};
  for (const auto& [name, ids] : {std::pair{"gpt-2", size_t{1}},
                                  {"mpt", 1},
                                  {"", 1},
                                  {"smollm", 2},
                                  {"llama-bpe", 1},
                                  {"qwen2", 2}}) {
    keys.rule = name;
    const auto tokenizer = read(keys);
    EXPECT_EQ(encode(*tokenizer, "12").size(), ids) << name;
    EXPECT_EQ(tokenizer->rules().ignore_merges, name == std::string("llama-bpe"));
  }
  keys.rule = "gpt-neox";
  EXPECT_THROW(read(keys), UserError);
}

TEST_F(GgufTokenizer, TypesOfTokens) {
  Keys keys;
  keys.add("<end>", gguf::kControlToken);
  keys.add("  ", gguf::kUserToken);
  keys.add("[PAD0]", gguf::kUnusedToken);
  keys.end = 256;
  const auto tokenizer = read(keys);
  EXPECT_EQ(tokenizer->vocabulary(), 258);
  EXPECT_EQ(tokenizer->separator(), 256);
  EXPECT_EQ(tokenizer->type(257), TokenType::user);
  EXPECT_EQ(encode(*tokenizer, "  <end>").size(), 6u);
  EXPECT_EQ(encode(*tokenizer, "  <end>", test::Specials::found), (Ids{257, 256}));
}

TEST_F(GgufTokenizer, Pieces) {
  Keys keys{.model = "llama", .texts = {}, .types = {}};
  for (const test::RawPiece& piece : test::small_pieces(true)) {
    keys.add(piece.text, piece.type);
    keys.scores.push_back(piece.score);
  }
  keys.add("[PAD0]", gguf::kUnusedToken);
  keys.scores.push_back(0);
  keys.end = 2;
  const auto tokenizer = read(keys);
  EXPECT_EQ(tokenizer->kind(), Tokenizer::Kind::sentencepiece);
  EXPECT_EQ(tokenizer->separator(), 2);
  EXPECT_EQ(tokenizer->vocabulary(), 270);
  EXPECT_FALSE(tokenizer->rules().collapse_spaces);
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "a  bc\n")), " a  bc\n");
  keys.scores.resize(5);
  EXPECT_THROW(read(keys), FormatError);
  keys.scores.clear();
  EXPECT_THROW(read(keys), UserError);
}

TEST_F(GgufTokenizer, DamagedKeys) {
  Keys keys{.model = "t5"};
  EXPECT_THROW(read(keys), UserError);
  keys = Keys();
  keys.types.pop_back();
  EXPECT_THROW(read(keys), FormatError);
  keys = Keys();
  keys.types[7] = 8;
  EXPECT_THROW(read(keys), FormatError);
  keys.types[7] = gguf::kByteToken;
  EXPECT_THROW(read(keys), FormatError);
  keys = Keys();
  keys.add("\xff", gguf::kControlToken);
  EXPECT_THROW(read(keys), FormatError);
  keys = Keys{.texts = {}};
  EXPECT_THROW(read(keys), FormatError);
}

TEST_F(GgufTokenizer, TheRuntimesOwnFileOfGpt2) {
  const auto file = test::shared_data("ref/llama.cpp/ggml-vocab-gpt-2.gguf");
  if (!file) GTEST_SKIP() << test::missing_shared_data("ref/llama.cpp");
  const auto tokenizer = Tokenizer::load(*file);
  EXPECT_EQ(tokenizer->vocabulary(), 50257);
  EXPECT_EQ(tokenizer->separator(), 50256);
  test::expect_reference_encodings(*tokenizer, "ref/gpt2-encodings-30.jsonl");
}

}  // namespace
}  // namespace isoflop
