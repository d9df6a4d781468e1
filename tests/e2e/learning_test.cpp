// That training learns: real text, the configs of the repository, shorter than they say.
#include "tests/e2e/tiny_run.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

using namespace isoflop::test;

/// Validation loss after `steps` steps of a config of ours on tinyshakespeare.
double validation_loss(const std::string& config, int steps) {
  const TempDir dir;
  const auto text = shared_data("text/tinyshakespeare.txt");
  const ProgramResult result = run_isoflop(
      {"train", std::string(ISOFLOP_SOURCE_DIR) + "/configs/" + config, "--out",
       (dir.path() / "run").string(), "--json", "--quiet", "data.train=" + text->string(),
       "schedule.steps=" + std::to_string(steps), "eval.every=1000000"});
  EXPECT_EQ(result.code, 0) << result.err;
  return nlohmann::json::parse(result.out).at("valid_loss").get<double>();
}

// 2,000 steps reach 1.88 (docs/results.md); 500 steps, a quarter of them, are well past counting
// characters (3.3), pairs (2.5) and triples of them (about 2.1), which is what the bounds say.
TEST(Learning, SlowShakespeareWithGpt3AndLlamaBlocks) {
  if (!shared_data("text/tinyshakespeare.txt"))
    GTEST_SKIP() << missing_shared_data("text/tinyshakespeare.txt");
  EXPECT_LE(validation_loss("shakespeare-gpt3.toml", 500), 2.20);
  EXPECT_LE(validation_loss("shakespeare-llama.toml", 500), 2.20);
}

TEST(Learning, SlowQuickstartEndsInA4BitFileThatBeatsCompression) {
  const TempDir dir;
  for (const char* name : {"one", "two"})
    write_text(dir.path() / (std::string(name) + ".txt"), tiny_text(400000, name[0]));
  const ProgramResult result =
      run_isoflop({"quickstart", "--text", (dir.path() / "*.txt").string(), "--out",
                   (dir.path() / "run").string(), "--minutes", "0.2", "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  const auto& bits = json.at("bits_per_byte").at("all");
  EXPECT_LT(bits.at("model").get<double>(), bits.at("xz").get<double>());
  EXPECT_LT(bits.at("model").get<double>(), bits.at("trigram").get<double>());
  EXPECT_TRUE(std::filesystem::exists(json.at("file").get<std::string>()));
  EXPECT_GT(json.at("text").get<std::string>().size(), 20u);
}

}  // namespace
}  // namespace isoflop
