// `tokenizer` and `data` from the command line: the forms that scripts rely on.
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/support/program.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

using nlohmann::json;
using test::ProgramResult;
using test::run_program;

class TextCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ofstream text(folder_.path() / "text.txt");
    for (int i = 0; i < 400; ++i) text << "the cat sat on mat " << i << " and the dog ran\n";
    const ProgramResult trained =
        run("tokenizer train --vocab 300 --out tok.json text.txt --json --quiet");
    ASSERT_EQ(trained.code, 0) << trained.err;
    trained_ = json::parse(trained.out);
  }
  ProgramResult run(const std::string& arguments, const std::string& input = "") const {
    return run_program(arguments, folder_.path(), input);
  }

  test::TempDir folder_;
  json trained_;
};

TEST_F(TextCommands, TrainSaysTheSize) {
  EXPECT_EQ(trained_["vocabulary"], 300);
  EXPECT_EQ(trained_["type"], "bpe");
  EXPECT_EQ(json::parse(run("inspect tok.json --json").out)["hash"], trained_["hash"]);
  EXPECT_EQ(json::parse(run("tokenizer inspect tok.json --json").out)["merges"],
            43);  // 300 - 1 - 256
  EXPECT_EQ(run("tokenizer train --vocab 100 --out x.json text.txt").code, 2);
  EXPECT_EQ(run("tokenizer train --vocab 300 --out /proc/none/x.json text.txt").code, 2);
  EXPECT_EQ(run("tokenizer train --vocab 300 --out x.json absent.txt").code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "x.json"));
}

TEST_F(TextCommands, ImportWritesATokenizerThatGivesTheSameIds) {
  const std::string model =
      test::sentencepiece_bytes({.pieces = test::small_pieces(true), .byte_fallback = true});
  std::ofstream(folder_.path() / "t.model", std::ios::binary) << model;
  const ProgramResult imported = run("tokenizer import t.model --out t.json --json");
  ASSERT_EQ(imported.code, 0) << imported.err;
  const json description = json::parse(imported.out);
  EXPECT_EQ(description["type"], "sentencepiece");
  EXPECT_EQ(description["vocabulary"], 270);
  EXPECT_EQ(description["special_tokens"], json({"<unk>", "<s>", "</s>"}));
  const std::string ids = run("tokenizer encode --tokenizer t.model --text \"abc  x\"").out;
  EXPECT_EQ(run("tokenizer encode --tokenizer t.json --text \"abc  x\"").out, ids);
  EXPECT_EQ(run("tokenizer decode --tokenizer t.json", ids).out, "abc x");  // no space in front
  const json inspected = json::parse(run("tokenizer inspect tok.json --json").out);
  EXPECT_EQ(inspected["split"], "gpt-2");
  EXPECT_EQ(inspected["special_tokens"], json({"<|endoftext|>"}));
  EXPECT_EQ(run("tokenizer import text.txt --out x.json").code, 2);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "x.json"));
}

TEST_F(TextCommands, EncodeAndDecodeAreInverse) {
  const std::string text = "the cat \xc3\xa9\n<|endoftext|> end ";
  const ProgramResult piped = run("tokenizer encode --tokenizer tok.json --json", text);
  ASSERT_EQ(piped.code, 0) << piped.err;
  const json ids = json::parse(piped.out)["ids"];
  std::ofstream(folder_.path() / "in.txt", std::ios::binary) << text;
  EXPECT_EQ(
      json::parse(run("tokenizer encode --tokenizer tok.json --file in.txt --json").out)["ids"],
      ids);
  EXPECT_EQ(run("tokenizer decode --tokenizer tok.json", ids.dump()).out, text);
  EXPECT_EQ(
      json::parse(run("tokenizer decode --tokenizer tok.json --json", ids.dump()).out)["text"],
      text);
  const json special =
      json::parse(run("tokenizer encode --special --tokenizer tok.json --json", text).out)["ids"];
  EXPECT_LT(special.size(), ids.size());
  EXPECT_NE(std::find(special.begin(), special.end(), 0), special.end());
}

TEST_F(TextCommands, EncodeTakesTextFromTheCommandLine) {
  const ProgramResult outcome = run("tokenizer encode --tokenizer tok.json --text 'the cat'");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(
      run("tokenizer decode --tokenizer tok.json " + outcome.out.substr(0, outcome.out.size() - 1))
          .out,
      "the cat");
  EXPECT_EQ(json::parse(run("tokenizer encode --tokenizer tok.json --text '' --json").out)["ids"],
            json::array());
}

TEST_F(TextCommands, DecodeRefusesWhatIsNoId) {
  EXPECT_NE(run("tokenizer decode --tokenizer tok.json 300").err.find("0 to 299"),
            std::string::npos);
  EXPECT_EQ(run("tokenizer decode --tokenizer tok.json 300").code, 2);
  EXPECT_EQ(run("tokenizer decode --tokenizer tok.json 1 x").code, 2);
  EXPECT_EQ(run("tokenizer decode --tokenizer tok.json", "99999999999999").code, 2);
}

TEST_F(TextCommands, BuildInspectAndBatchAgree) {
  const ProgramResult built =
      run("data build --tokenizer tok.json --out a.h5 --valid-out v.h5 --valid-fraction 0.1 "
          "text.txt --json");
  ASSERT_EQ(built.code, 0) << built.err;
  const json report = json::parse(built.out);
  const json store = json::parse(run("data inspect a.h5 --verify --json").out);
  EXPECT_EQ(store["tokens"], report["tokens"]);
  EXPECT_EQ(store["documents"], report["documents"]);
  EXPECT_EQ(store["bytes"], report["bytes"]);
  EXPECT_EQ(store["vocabulary"], 300);
  const auto whole = std::filesystem::file_size(folder_.path() / "text.txt");
  EXPECT_EQ(report["bytes"].get<uint64_t>() + report["valid_bytes"].get<uint64_t>(), whole);
  EXPECT_EQ(json::parse(run("inspect v.h5 --json").out)["tokens"], report["valid_tokens"]);

  const std::string run_words =
      "data.train=a.h5 model.context=16 schedule.steps=9 schedule.batch_tokens=64";
  const ProgramResult batch =
      run("data batch " + run_words + " --step 3 --tokenizer tok.json --json");
  ASSERT_EQ(batch.code, 0) << batch.err;
  const json rows = json::parse(batch.out)["sequences"];
  ASSERT_EQ(rows.size(), 4u);
  for (const json& row : rows) {
    EXPECT_EQ(row["ids"].size(), 17u);
    EXPECT_EQ(run("tokenizer decode --tokenizer tok.json", row["ids"].dump()).out, row["text"]);
  }
  EXPECT_EQ(run("data batch " + run_words + " --step 3 --tokenizer tok.json --json").out,
            batch.out);
  EXPECT_NE(run("data batch " + run_words + " --step 4 --tokenizer tok.json --json").out,
            batch.out);
  EXPECT_EQ(run("data batch schedule.steps=9 data.train=text.txt").code, 2);
}

TEST_F(TextCommands, BuildProtectsWhatIsThere) {
  const std::string build = "data build --tokenizer tok.json --out a.h5 text.txt --json --quiet";
  ASSERT_EQ(run(build).code, 0);
  const std::string before = test::slurp(folder_.path() / "a.h5");
  EXPECT_EQ(run(build).code, 2);
  EXPECT_EQ(run(build + " --overwrite").code, 0);
  EXPECT_EQ(test::slurp(folder_.path() / "a.h5"), before);
  std::ofstream(folder_.path() / "empty.h5");  // as mktemp leaves one
  EXPECT_EQ(run("data build --tokenizer tok.json --out empty.h5 text.txt").code, 0);
}

}  // namespace
}  // namespace isoflop
