// export leaves a certificate; certify finds a file that is no longer what it says.
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

using namespace isoflop::test;

class Certify : public FolderTest {
 protected:
  void SetUp() override {
    text_ = write("text.txt", tiny_text(20000));
    ASSERT_EQ(run_isoflop({"train",
                           write("run.toml", tiny_config(text_, "model.output_multiplier = 0.5\n")),
                           "--out", file("run"), "--quiet"})
                  .code,
              0);
  }
  std::string file(const std::string& name) const { return path(name).string(); }
  static nlohmann::json json_of(const ProgramResult& result) {
    return nlohmann::json::parse(result.out);
  }
  std::string text_;
};

TEST_F(Certify, EveryExportUnlessToldOtherwise) {
  const ProgramResult exported =
      run_isoflop({"export", file("run"), "--type", "f32", "--out", file("a.gguf"), "--json"});
  ASSERT_EQ(exported.code, 0) << exported.err;
  const nlohmann::json certificate = json_of(exported)["certificate"];
  EXPECT_TRUE(certificate["pass"]);
  EXPECT_LE(certificate["weights"]["max_logit_difference"], 1e-3);
  EXPECT_NE(certificate["text"].get<std::string>().find("valid.h5"), std::string::npos);
  EXPECT_EQ(certificate["kind"], "base model");
  const nlohmann::json stored = nlohmann::json::parse(slurp(path("a.certificate.json")));
  EXPECT_EQ(stored["file_sha256"], certificate["file_sha256"]);
  EXPECT_NE(slurp(path("a.Modelfile")).find("FROM ./a.gguf"), std::string::npos);
  const std::string card = slurp(path("run/MODEL_CARD.md"));
  EXPECT_NE(card.find("## Data"), std::string::npos) << card;
  EXPECT_NE(card.find("| f32 | 32.00 | 0 |"), std::string::npos) << card;
  EXPECT_NE(card.find(certificate["file_sha256"].get<std::string>()), std::string::npos) << card;

  ASSERT_EQ(run_isoflop({"export", file("run"), "--out", file("b.gguf"), "--no-certify"}).code, 0);
  EXPECT_FALSE(std::filesystem::exists(path("b.certificate.json")));
  EXPECT_EQ(run_isoflop({"certify", file("b.gguf")}).code, 2) << "nothing says what it was made of";
  const auto certified_for = [&](const char* program) {
    return run_isoflop({"certify", file("b.gguf"), "--against", file("run"), "--for", program});
  };
  EXPECT_EQ(certified_for("ollama").code, 0);
  const ProgramResult tied = certified_for("gpt4all");
  EXPECT_EQ(tied.code, 3);
  EXPECT_NE((tied.out + tied.err).find("tied_embeddings"), std::string::npos) << tied.err;
}

TEST_F(Certify, WhatCannotBeCheckedIsSaidBeforeAnythingIsWritten) {
  const struct {
    std::vector<std::string> flags;
    const char* says;
  } cases[] = {{{"--for", "toaster"}, "toaster"},
               {{"--text", "nowhere.txt"}, "nowhere.txt"},
               {{"--tokens", "0"}, "--tokens 0"},
               {{"--no-certify", "--for", "ollama"}, "--no-certify"},
               {{"--no-certify", "--text", text_}, "--no-certify"}};
  for (const auto& [flags, says] : cases) {
    std::vector<std::string> arguments = {"export", file("run"), "--out", file("a.gguf")};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const ProgramResult refused = run_isoflop(arguments);
    EXPECT_EQ(refused.code, 2) << says;
    EXPECT_NE(refused.err.find(says), std::string::npos) << refused.err;
    EXPECT_FALSE(std::filesystem::exists(path("a.gguf"))) << says;
  }
}

// What it was to replace stays, with its certificate.
TEST_F(Certify, AFileHasItsNameOnlyOnceItHasPassed) {
  ASSERT_EQ(run_isoflop({"export", file("run"), "--type", "q8_0", "--out", file("a.gguf")}).code,
            0);
  const std::string good = slurp(path("a.gguf")), proof = slurp(path("a.certificate.json"));
  const std::vector<std::string> again = {"export",       file("run"), "--type", "f32",    "--out",
                                          file("a.gguf"), "--force",   "--for",  "gpt4all"};
  const ProgramResult rejected = run_isoflop(again);
  EXPECT_EQ(rejected.code, 3);
  EXPECT_NE(rejected.out.find("a.gguf.uncertified"), std::string::npos) << rejected.out;
  EXPECT_FALSE(nlohmann::json::parse(slurp(path("a.gguf.certificate.json")))["pass"]);
  EXPECT_TRUE(std::filesystem::exists(path("a.gguf.uncertified")));
  EXPECT_EQ(slurp(path("a.gguf")), good);
  EXPECT_EQ(slurp(path("a.certificate.json")), proof);

  // The first rename is that of a whole file, the second one gives it its name.
  const std::vector<std::string> fresh = {"export", file("run"), "--out", file("b.gguf")};
  for (const char* fault : {"rename:1", "rename:2"}) {
    EXPECT_EQ(Program(fresh, {{"ISOFLOP_FAULT", fault}}).wait().code, -SIGKILL);
    EXPECT_FALSE(std::filesystem::exists(path("b.gguf"))) << fault;
  }
  ASSERT_EQ(run_isoflop(fresh).code, 0);
  EXPECT_TRUE(std::filesystem::exists(path("b.gguf")));
  EXPECT_FALSE(std::filesystem::exists(path("b.gguf.uncertified")));
}

TEST_F(Certify, AChangedFileFails) {
  ASSERT_EQ(run_isoflop({"export", file("run"), "--type", "q8_0", "--out", file("a.gguf")}).code,
            0);
  EXPECT_EQ(run_isoflop({"certify", file("a.gguf")}).code, 0);
  const size_t size = std::filesystem::file_size(path("a.gguf"));
  for (size_t at = size - 4000; at < size - 2000; ++at) flip_byte(path("a.gguf"), at, 0x55);
  const ProgramResult hashed = run_isoflop({"certify", file("a.gguf")});
  EXPECT_EQ(hashed.code, 3);
  EXPECT_NE(hashed.err.find("sha256"), std::string::npos) << hashed.err;
  EXPECT_EQ(run_isoflop({"certify", file("a.gguf"), "--against", file("run")}).code, 3);
  EXPECT_FALSE(nlohmann::json::parse(slurp(path("a.certificate.json")))["pass"]);
}

TEST_F(Certify, TasksAreScoredAlikeInAnyBatch) {
  std::string lines;
  for (int i = 0; i < 20; ++i)
    lines += R"({"query":"the sea was","choices":["calm and grey","anchor)" +
             std::string(static_cast<size_t>(i), 's') +
             R"("],"gold":0})"
             "\n";
  const std::string all = write("all.jsonl", lines);
  const ProgramResult together =
      run_isoflop({"eval", file("run"), "--tasks", all, "--per-item", "--json"});
  ASSERT_EQ(together.code, 0) << together.err;
  const nlohmann::json items = json_of(together)["tasks"]["all"]["per_item"];
  ASSERT_EQ(items.size(), 20u);
  const std::string first = write("first.jsonl", lines.substr(0, lines.find('\n') + 1));
  const nlohmann::json alone =
      json_of(run_isoflop({"eval", file("run"), "--tasks", first, "--per-item", "--json"}));
  for (int i = 0; i < 2; ++i)
    // Padding and the order of sums in larger products may move the last bits of an fp32 sum.
    EXPECT_NEAR(
        items[0]["choices"][i]["log_likelihood"].get<double>(),
        alone["tasks"]["first"]["per_item"][0]["choices"][i]["log_likelihood"].get<double>(), 1e-4);
}

TEST_F(Certify, AStrideOfTheContextIsNoOverlap) {
  const auto nll = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {
        "eval", file("run"), "--data", file("run/data/valid.h5"), "--per-token", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return json_of(run_isoflop(arguments));
  };
  const nlohmann::json plain = nll({}), same = nll({"--stride", "16"}),
                       four = nll({"--stride", "4"});
  ASSERT_EQ(plain["nll"].size(), same["nll"].size());
  for (size_t i = 0; i < plain["nll"].size(); ++i) ASSERT_EQ(plain["nll"][i], same["nll"][i]) << i;
  ASSERT_EQ(plain["nll"].size(), four["nll"].size()) << "each token once";
  for (size_t i = 0; i < 16; ++i)
    EXPECT_NEAR(plain["nll"][i].get<double>(), four["nll"][i].get<double>(), 1e-4) << i;
  EXPECT_EQ(run_isoflop({"eval", file("run"), "--text", text_, "--stride", "17"}).code, 2);
}

TEST(RunsOn, ASevenBillionModelIsRefusedFromItsShape) {
  const ProgramResult no = run_isoflop(
      {"inspect", "llama-7b", "model.vocabulary=32000", "--runs-on", "pi4-4gb", "--json"});
  EXPECT_EQ(no.code, 3) << no.err;
  EXPECT_GT(nlohmann::json::parse(no.out)["devices"][0]["shortfall_bytes"], 1e9);
  EXPECT_EQ(
      run_isoflop({"inspect", "llama-7b", "model.vocabulary=32000", "--runs-on", "laptop-16gb"})
          .code,
      0);
}

}  // namespace
}  // namespace isoflop
