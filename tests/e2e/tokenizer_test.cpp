// Training with somebody else's tokenizer: the run carries it, and so does the exported model.
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace isoflop {
namespace {

using namespace isoflop::test;

class OtherTokenizer : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (dir_.path() / name).string(); }
  std::string output_of(const std::vector<std::string>& arguments) const {
    const ProgramResult result = run_isoflop(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return result.out;
  }
  std::string ids(const std::string& tokenizer) const {
    return output_of({"tokenizer", "encode", "--tokenizer", tokenizer, "--text",
                      "abc  cab \u00e9\u4f60 1234 it's"});
  }
  void train_export_and_compare(const std::string& tokenizer) {
    const std::string text = write_text(dir_.path() / "text.txt", tiny_text(20000));
    write_text(dir_.path() / "run.toml", tiny_config(text, "model.arch = \"llama\"\n"));
    output_of({"train", path("run.toml"), "data.tokenizer=" + tokenizer, "schedule.steps=4",
               "--out", path("run"), "--quiet"});
    output_of({"export", path("run"), "--type", "f32", "--out", path("m.gguf"), "--quiet"});
    const std::string expected = ids(tokenizer);
    EXPECT_FALSE(expected.empty());
    EXPECT_EQ(ids(path("run")), expected);
    EXPECT_EQ(ids(path("m.gguf")), expected);
    const auto loss = [&](const std::string& model) {
      return nlohmann::json::parse(output_of({"eval", model, "--text", text, "--json"}))["loss"];
    };
    // One is the checkpoint's f32 values, the other the same in a file.
    EXPECT_EQ(loss(path("run")), loss(path("m.gguf")));
  }
  TempDir dir_;
};

TEST_F(OtherTokenizer, SentencePiece) {
  train_export_and_compare(
      write_text(dir_.path() / "t.model",
                 sentencepiece_bytes({.pieces = small_pieces(true), .byte_fallback = true})));
}

TEST_F(OtherTokenizer, GptNeox) {
  const auto file = shared_data("tokenizer/neox20b/20B_tokenizer.json");
  if (!file) GTEST_SKIP() << missing_shared_data("tokenizer/neox20b");
  train_export_and_compare(file->string());
}

}  // namespace
}  // namespace isoflop
