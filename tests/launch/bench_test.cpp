// `bench step` and `bench ops`: that they measure what they say. How fast anything is, is not
// tested.
#include "launch/bench_limits.hpp"
#include "launch/bench_step.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/train/random_source.hpp"
#include "tests/support/program.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace isoflop {
namespace {

using nlohmann::json;
using test::ProgramResult;
using test::run_program;

const std::string kTiny =
    "bench step model.layers=2 model.d_model=32 model.heads=2 model.context=16 "
    "schedule.batch_tokens=256 schedule.slots=2 schedule.micro_batch=4 --steps 3 --warmup 1 ";

json result_line(const ProgramResult& result) {
  const size_t at = result.out.rfind("RESULT ");
  if (at == std::string::npos || (at > 0 && result.out[at - 1] != '\n')) return json();
  return json::parse(result.out.substr(at + 7));  // throws unless nothing but JSON follows
}

void expect_plausible(const json& result, double vocabulary) {
  for (const char* key : {"tokens_per_s", "tflops", "mfu", "mfu_causal", "peak_bytes",
                          "planned_bytes", "gemm_tflops", "loss"}) {
    ASSERT_TRUE(result.contains(key)) << key;
    EXPECT_GT(result[key].get<double>(), 0) << key;
  }
  EXPECT_LT(result["mfu_causal"], result["mfu"]);
  // Initial logits have a standard deviation near 0.02 sqrt(32) = 0.1, which adds 0.01.
  EXPECT_NEAR(result["loss"].get<double>(), std::log(vocabulary), 0.05);
}

TEST(BenchStep, EndsWithAResultLine) {
  const ProgramResult result = run_program(kTiny + "model.vocabulary=300 --threads 2");
  ASSERT_EQ(result.code, 0) << result.err;
  expect_plausible(result_line(result), 300);
  for (const char* operation : {"matmul_grad_weight", "attention_backward", "adamw"})
    EXPECT_NE(result.out.find(operation), std::string::npos) << operation;
}

TEST(BenchStep, JsonHasEverythingAndNothingElseIsOnStandardOutput) {
  const ProgramResult result =
      run_program("bench step --preset tiny-llama schedule.batch_tokens=1024 --steps 2 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const json object = json::parse(result.out);
  expect_plausible(object, object["vocabulary"].get<double>());
  EXPECT_EQ(object["step_seconds"].size(), 2u);
  EXPECT_EQ(object["batch_tokens"], 1024);
  double share = 0;
  bool has_product = false;
  for (const json& op : object["operations"]) {
    share += op["share"].get<double>();
    EXPECT_GT(op["calls_per_step"].get<int>(), 0) << op;
    if (op["name"] == "matmul") has_product = op["tflops"].get<double>() > 0;
  }
  EXPECT_TRUE(has_product);
  EXPECT_GT(share, 0.2);  // the rest is between the operations
  EXPECT_LE(share, 1.0);
}

TEST(BenchStep, NeedsNoDataAndTakesTheVocabularyOfTheTokenizer) {
  test::TempDir folder;
  std::ofstream(folder.path() / "run.toml")
      << "model.layers = 1\nmodel.d_model = 32\nmodel.heads = 2\nmodel.context = 16\n"
         "data.train = [\"absent.h5\"]\ndata.tokenizer = \"bpe:500\"\nschedule.budget = \"30m\"\n"
         "schedule.batch_tokens = 64\n";
  const ProgramResult result =
      run_program("bench step run.toml --steps 1 --warmup 0 --json", folder.path());
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out)["vocabulary"], 500);
}

TEST(BenchStep, WithoutATokenizerTheVocabularyIs8192) {
  const ProgramResult result = run_program(kTiny + "--json");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(json::parse(result.out)["vocabulary"], 8192);
}

TEST(BenchStep, APresetsLengthAndWarmUpDoNotMatter) {
  const ProgramResult result = run_program(
      "bench step --preset gpt2-124m model.layers=1 model.d_model=32 model.heads=2 "
      "model.context=16 model.vocabulary=300 schedule.batch_tokens=64 --steps 1 --warmup 0 --json");
  EXPECT_EQ(result.code, 0) << result.err;
}

TEST(BenchStep, RefusesWhatItCannotMeasure) {
  const auto expect_refused = [](const std::string& arguments, const std::string& message) {
    const ProgramResult result = run_program(arguments);
    EXPECT_EQ(result.code, 2) << arguments;
    EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
  };
  expect_refused("bench step", "run.toml, --preset NAME");
  expect_refused("bench step book.txt", "book.txt");
  expect_refused("bench step absent.toml", "absent.toml");
  expect_refused("bench step --preset gpt2-125m", "gpt2-124m");
  expect_refused(kTiny + "schedule.budget=30m", "schedule.steps");
  expect_refused(kTiny + "data.tokenizer=chars", "model.vocabulary");
  expect_refused(kTiny + "--steps 0", "--steps");
  expect_refused("bench ops --filter convolution", "matmul");
  expect_refused("bench stop", "bench step");
}

TEST(BenchOps, MeasuresWhatTheFilterNames) {
  const ProgramResult result = run_program("bench ops --filter softcap --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const json object = json::parse(result.out);
  EXPECT_GT(object["gemm_tflops"].get<double>(), 0);
  EXPECT_GT(object["memory_gb_per_s"].get<double>(), 0);
  ASSERT_EQ(object["operations"].size(), 1u);
  const json& op = object["operations"][0];
  EXPECT_EQ(op["name"], "softcap");
  EXPECT_GT(op["ms"].get<double>(), 0);
  EXPECT_GT(op["gb_per_s"].get<double>(), 0);
  EXPECT_GT(op["share"].get<double>(), 0);
}

TEST(Bench, TheMedianIsTheMiddleValue) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 3);
}

TEST(Bench, ProductsOfAModelAreListedOnce) {
  RunConfig config;
  config.model.vocabulary = 500;
  config.schedule.steps = 1;
  config.schedule.batch_tokens = 1024;
  config.schedule.micro_batch = 4;
  config.schedule.slots = 1;
  const std::vector<ProductShape> expected = {{kHeadTokens, 500, 384},
                                              {1024, 1152, 384},
                                              {1024, 384, 384},
                                              {1024, 1536, 384},
                                              {1024, 384, 1536}};
  const std::vector<ProductShape> shapes = product_shapes(run_without_data(config, {}));
  EXPECT_TRUE(std::is_permutation(shapes.begin(), shapes.end(), expected.begin(), expected.end()));
}

TEST(Bench, RandomTokensAreAFunctionOfSeedAndSequence) {
  std::vector<int32_t> first(1000), again(1000), other(1000), seeded(1000);
  const SequenceSource source = random_source(50, 7);
  source(3, first);
  source(4, other);
  source(3, again);
  random_source(50, 8)(3, seeded);
  EXPECT_EQ(first, again);
  EXPECT_NE(first, other);
  EXPECT_NE(first, seeded);
  EXPECT_EQ(*std::min_element(first.begin(), first.end()), 0);
  EXPECT_EQ(*std::max_element(first.begin(), first.end()), 49);
}

}  // namespace
}  // namespace isoflop
