// A model goes out, comes back in, and is still the same one; and trains on.
#include "formats/gguf.hpp"
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>

namespace isoflop {
namespace {

using namespace isoflop::test;
using Json = nlohmann::json;

class Import : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return (dir.path() / name).string(); }
  Json run_json(std::vector<std::string> arguments) const {
    arguments.emplace_back("--json");
    const ProgramResult result = run_isoflop(arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return result.code == 0 ? Json::parse(result.out) : Json();
  }
  void train_tiny(const std::string& arch) {
    std::filesystem::remove_all(path("run"));
    text = write_text(dir.path() / "text.txt", tiny_text(20000));
    write_text(dir.path() / "run.toml", tiny_config(text, "model.arch = \"" + arch + "\"\n"));
    ASSERT_EQ(run_isoflop({"train", path("run.toml"), "--out", path("run"), "--quiet"}).code, 0);
  }
  double loss_of(const std::string& model) const {
    return run_json({"eval", model, "--text", text}).value("loss", -1.0);
  }

  TempDir dir;
  std::string text;
};

void expect_same_tensors(const std::string& a, const std::string& b) {
  const GgufFile first(a), second(b);
  ASSERT_EQ(first.tensors().size(), second.tensors().size());
  for (const GgufTensor& tensor : first.tensors()) {
    const GgufTensor* other = second.find_tensor(tensor.name);
    ASSERT_TRUE(other) << tensor.name;
    EXPECT_TRUE(
        std::equal(tensor.data.begin(), tensor.data.end(), other->data.begin(), other->data.end()))
        << tensor.name;
  }
}

TEST_F(Import, AGgufFileBecomesARunThatEvaluatesWritesAndExportsTheSame) {
  for (const std::string arch : {"gpt3", "pythia", "llama"}) {
    train_tiny(arch);
    const std::string out = path(arch + ".gguf"), back = path(arch), again = path(arch + "2.gguf");
    run_json({"export", path("run"), "--type", "f32", "--out", out});
    const Json report = run_json({"import", out, "--out", back});
    EXPECT_EQ(report["arch"], arch);
    EXPECT_TRUE(report["tokenizer"]);
    EXPECT_EQ(loss_of(back), loss_of(out));
    const auto words = [&](const std::string& model) {
      return run_json({"generate", model, "the sea", "-n", "12", "--temperature", "0"})["ids"];
    };
    EXPECT_EQ(words(back), words(out));
    run_json({"export", back, "--type", "f32", "--out", again});
    expect_same_tensors(out, again);
    // Nobody here knows how an imported model was trained.
    const GgufFile first(out), second(again);
    EXPECT_NE(first.text("general.description").find("Trained from scratch"), std::string::npos);
    EXPECT_EQ(second.text("general.description").find("Trained"), std::string::npos);
    EXPECT_FALSE(second.find("general.training.tokens"));
  }
}

TEST_F(Import, ARunContinuesFromAModelAndLearns) {
  train_tiny("llama");
  run_json({"export", path("run"), "--type", "q8_0", "--out", path("m.gguf")});
  const double before = loss_of(path("m.gguf"));
  for (const std::string from : {"m.gguf", "run"}) {
    const Json result = run_json({"train", "model.init=" + path(from), "data.train=" + text,
                                  "schedule.steps=30", "schedule.batch_tokens=256",
                                  "optimizer.lr=3e-3", "--out", path("on-" + from), "--quiet"});
    EXPECT_EQ(result["steps"], 30);
    EXPECT_LT(loss_of(path("on-" + from)), before) << from;
  }
  // Killed and resumed, it must not begin with the old model again.
  const ProgramResult resumed =
      run_isoflop({"train", "--resume", "auto", "--out", path("on-run"), "--quiet"});
  EXPECT_EQ(resumed.code, 0) << resumed.err;
}

TEST_F(Import, RefusesWhatItCannotContinue) {
  train_tiny("gpt3");
  const auto refused = [&](std::vector<std::string> arguments, const std::string& part) {
    const ProgramResult result = run_isoflop(arguments);
    EXPECT_EQ(result.code, 2);
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  };
  const std::string init = "model.init=" + path("run");
  refused({"train", init, "model.context=32", "data.train=" + text, "schedule.steps=2",
           "schedule.batch_tokens=512", "--out", path("x")},
          "positions.weight is 16 x 32 there, but 32 x 32 here");
  refused({"train", init, "model.preset=tiny-gpt3", "data.train=" + text, "schedule.steps=2",
           "--out", path("x")},
          "keep one");
  refused({"train", "model.init=" + path("nowhere"), "data.train=" + text, "schedule.steps=2",
           "--out", path("x")},
          "there is no model at");
  refused({"import", text, "--out", path("y")}, "neither");
  refused({"import", path("run"), "--out", path("run")}, "holds a run already");
  EXPECT_FALSE(std::filesystem::exists(path("y")));
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

// A quantized file is multiplied by as it lies, with activations rounded to 8 bits; imported, it is
// dequantized first. The two agree but for that rounding, 1/250 of the largest in a block.
TEST_F(Import, AQuantizedFileIsUsedAsItLies) {
  for (const std::string arch : {"gpt3", "pythia", "llama"}) {
    train_tiny(arch);
    for (const std::string type : {"q8_0", "q4_0"}) {
      const std::string file = path(arch + type + ".gguf"), imported = path(arch + type);
      run_json({"export", path("run"), "--type", type, "--out", file});
      run_json({"import", file, "--out", imported});
      const double stored = loss_of(file), dequantized = loss_of(imported);
      EXPECT_NE(stored, dequantized) << arch << ' ' << type;
      EXPECT_NEAR(stored, dequantized, 5e-3 * dequantized) << arch << ' ' << type;
      const Json generated = run_json({"generate", file, "the", "-n", "20", "--temperature", "0"});
      EXPECT_EQ(generated["ids"].size(), 20u);
      EXPECT_GT(generated["prompt_tokens_per_s"], 0);
      EXPECT_GT(generated["tokens_per_s"], 0);
    }
  }
}

}  // namespace
}  // namespace isoflop
