// A trained run goes out as a Hugging Face folder and is used from there like any other model.
#include "formats/gguf.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <string>

namespace isoflop {
namespace {

using namespace isoflop::test;
using Json = nlohmann::json;

class HfFolders : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  Json run_json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const ProgramResult result = run_isoflop(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return result.code == 0 ? Json::parse(result.out) : Json();
  }
  TempDir dir;
};

TEST_F(HfFolders, ARunIsEvaluatedWrittenWithAndTrainedOnFromItsFolder) {
  const std::string text = write_text(dir.path() / "text.txt", tiny_text(20000));
  for (const std::string arch : {"gpt3", "pythia", "llama"}) {
    const std::string run = path(arch), hf = path(arch + "-hf");
    write_text(dir.path() / "run.toml", tiny_config(text, "model.arch = \"" + arch + "\"\n"));
    ASSERT_EQ(run_isoflop({"train", path("run.toml"), "--out", run, "--quiet"}).code, 0);
    const Json report = run_json({"export", run, "--hf", hf, "--verify", "--license", "mit"});
    EXPECT_EQ(report["verified"]["logit_difference"], 0.0);  // nothing to fold: the same bits
    const auto loss = [&](const std::string& model) {
      return run_json({"eval", model, "--text", text})["loss"].get<double>();
    };
    EXPECT_EQ(loss(hf), loss(run)) << arch;
    const auto ids = [&](const std::string& model) {
      return run_json({"generate", model, "the sea", "-n", "8", "--temperature", "0"})["ids"];
    };
    EXPECT_EQ(ids(hf), ids(run)) << arch;
    EXPECT_EQ(run_json({"import", hf, "--out", path(arch + "-back")})["arch"], arch);
    const Json described = run_json({"inspect", hf});
    EXPECT_EQ(described["kind"], "hugging face folder");
    EXPECT_EQ(described["arch"], arch);
    EXPECT_EQ(described["parameters"], report["parameters"]);
    EXPECT_EQ(loss(path(arch + "-back")), loss(run)) << arch;

    const std::string card = slurp(hf + "/README.md");
    for (const char* part : {"license: \"mit\"", "This is a base model", "text.txt", "[model]"})
      EXPECT_NE(card.find(part), card.npos) << part << "\n" << card;
    run_json({"export", run, "--out", path("m.gguf"), "--type", "f32", "--license", "mit"});
    const GgufFile gguf(path("m.gguf"));
    EXPECT_EQ(gguf.text("general.license"), "mit");
    EXPECT_NE(card.find(gguf.text("general.training.order_hash")), card.npos);
    std::filesystem::remove(path("m.gguf"));
  }
  const Json trained =
      run_json({"train", "model.init=" + path("llama-hf"), "data.train=" + text, "schedule.steps=3",
                "schedule.batch_tokens=256", "--out", path("on"), "--quiet"});
  EXPECT_EQ(trained["steps"], 3);
}

TEST_F(HfFolders, FlagsThatWouldDoNothingAreRefused) {
  const struct {
    std::vector<std::string> arguments;
    const char* says;
  } cases[] = {{{"export", "x", "--hf", "d", "--type", "q4_0"}, "--type requires --out"},
               {{"export", "x", "--hf", "d", "--text", "t"}, "--text requires --out"},
               {{"export", "x", "--hf", "d", "--for", "ollama"}, "--for requires --out"},
               {{"export", "x", "--hf", "d", "--no-certify"}, "--no-certify requires --out"},
               {{"export", "x", "--out", "f", "--dtype", "f16"}, "--dtype requires --hf"},
               {{"export", "x", "--out", "f", "--verify"}, "--verify requires --hf"},
               {{"eval", "x", "--text", "t", "--shots", "2"}, "--shots requires --tasks"},
               {{"eval", "x", "--text", "t", "--bos"}, "--bos requires --tasks"},
               {{"eval", "x", "--text", "t", "--tasks", "f"}, "--tasks"},
               {{"eval", "x", "--tasks", "f", "--per-token"}, "--per-token"},
               {{"inspect", "x", "--context", "5"}, "--context requires --runs-on"}};
  for (const auto& [arguments, says] : cases) {
    const ProgramResult result = run_isoflop(arguments);
    EXPECT_EQ(result.code, 2) << says;
    EXPECT_NE(result.err.find(says), std::string::npos) << says << "\n" << result.err;
  }
}

TEST_F(HfFolders, AreExportedEitherThereOrToAFile) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"export", "x"}, {"export", "x", "--out", "y", "--hf", "z"}}) {
    const ProgramResult result = run_isoflop(arguments);
    EXPECT_EQ(result.code, 2);
    EXPECT_NE(result.err.find("either --out F.gguf or --hf DIR"), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace isoflop
