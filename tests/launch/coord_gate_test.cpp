// The coordinate check before a large run: what the small models share with the large one, that it
// is done once, and that a run that fails it does not start.
#include "launch/coord_gate.hpp"

#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"
#include "tests/support/program.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

RunConfig load(const std::vector<std::string>& overrides) {
  Origins origins;
  return resolved(load_config(std::nullopt, overrides, origins));
}

TEST(CoordGateFamily, TheSmallModelsAreTheLargeOnesFamily) {
  const RunConfig large =
      load({"model.arch=llama", "model.layers=40", "model.d_model=4096", "model.heads=64",
            "model.kv_heads=8", "model.context=2048", "model.vocabulary=50257", "schedule.steps=1",
            "schedule.batch_tokens=2048", "parametrization.kind=mup",
            "parametrization.base_d_model=256", "parametrization.output_multiplier=3"});
  EXPECT_EQ(gate_widths(large), (std::vector<int64_t>{64, 128, 256}));
  const RunConfig small = reduced(large, 128);
  EXPECT_EQ(small.model.arch, large.model.arch);
  EXPECT_EQ(small.model.head_dim, 64);
  EXPECT_EQ(small.model.heads, 2);
  EXPECT_EQ(small.model.layers, 2);
  EXPECT_EQ(small.parametrization.base_d_model, 256);
  EXPECT_EQ(small.parametrization.base_d_ff, large.parametrization.base_d_ff);
  EXPECT_DOUBLE_EQ(small.model.output_multiplier,
                   3 / 0.5);  // as the width says, not the large one's
  EXPECT_NEAR(static_cast<double>(small.model.d_ff) / 128,
              static_cast<double>(large.model.d_ff) / 4096, 0.01);
}

class CoordGate : public ::testing::Test {
 protected:
  static std::vector<std::string> family(std::initializer_list<std::string> more) {
    std::vector<std::string> all = {"model.arch=gpt3",
                                    "model.layers=2",
                                    "model.d_model=64",
                                    "model.heads=4",
                                    "model.context=32",
                                    "schedule.steps=1",
                                    "schedule.batch_tokens=64",
                                    "parametrization.kind=mup",
                                    "parametrization.base_d_model=64"};
    all.insert(all.end(), more);
    return all;
  }
  /// `isoflop train` of that family on some text, with a cache of its own.
  test::ProgramResult train(const std::string& out, std::initializer_list<std::string> more) const {
    const std::string text = (folder_.path() / "text.txt").string();
    std::string words;
    for (int i = 0; i < 400; ++i) words += "so many words and so few of them new\n";
    std::ofstream(text) << words;
    std::vector<std::string> arguments = {"train"};
    for (const std::string& word : family(more)) arguments.push_back(word);
    for (const std::string& word :
         {"data.train=" + text, std::string("data.tokenizer=bytes"),
          std::string("compute.dtype=fp32"), std::string("--out"), (folder_.path() / out).string()})
      arguments.push_back(word);
    return test::run_isoflop(arguments, {{"XDG_CACHE_HOME", (folder_.path() / "cache").string()}});
  }
  bool holds(const std::string& name) const { return fs::exists(folder_.path() / name); }

  test::TempDir folder_;
};

TEST_F(CoordGate, ALargeRunPassesOnceAndIsRemembered) {
  const test::ProgramResult small = train("small", {});
  EXPECT_EQ(small.code, 0) << small.err;
  EXPECT_EQ(small.err.find("coordinate check"), std::string::npos) << "no large run";
  const test::ProgramResult first = train("first", {"--coordcheck-above", "1"});
  EXPECT_EQ(first.code, 0) << first.err;
  EXPECT_NE(first.err.find("coordinate check: passed"), std::string::npos) << first.err;
  // Deeper than two layers the family is the same.
  const test::ProgramResult second = train("second", {"--coordcheck-above", "1", "model.layers=3"});
  EXPECT_EQ(second.code, 0) << second.err;
  EXPECT_NE(second.err.find("this family has passed"), std::string::npos) << second.err;
}

// An epsilon above all gradients, the same for all widths: updates follow the gradients, and those
// fall as 1/width once more.
TEST_F(CoordGate, AFailureStopsTheRunUnlessItIsSkipped) {
  const auto broken = {std::string("optimizer.eps=1"), std::string("parametrization.epsilon=fixed"),
                       std::string("--coordcheck-above"), std::string("1")};
  const test::ProgramResult refused = train("refused", broken);
  EXPECT_EQ(refused.code, 3) << refused.err;
  EXPECT_NE(refused.err.find("falls faster than 1/width"), std::string::npos) << refused.err;
  EXPECT_NE(refused.err.find("--skip coordcheck"), std::string::npos) << refused.err;
  EXPECT_FALSE(holds("refused")) << "a refused start leaves no folder";
  EXPECT_FALSE(holds("cache")) << "only what passed is remembered";
  const test::ProgramResult skipped =
      train("skipped", {"optimizer.eps=1", "parametrization.epsilon=fixed", "--coordcheck-above",
                        "1", "--skip", "coordcheck"});
  EXPECT_EQ(skipped.code, 0) << skipped.err;
}

}  // namespace
}  // namespace isoflop
