#include "scaling/devices.hpp"

#include "core/error.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

ModelConfig preset(const std::string& name) {
  Origins origins;
  return resolved(load_config(std::nullopt, {"model.preset=" + name}, origins)).model;
}

// llama.cpp's own dry run of Q4_0 files: a llama of 1.1B 693 MiB, gptneox of 410M 231.2 MiB. Ours,
// of published shapes counted by hand: LLaMA-7B has 6.738e9 weights, 131e6 of them in the head.
TEST(Devices, CountAFileOfAShape) {
  const ModelConfig llama = preset("llama-7b");
  const ModelWeights weights = weights_of_shape(llama);
  const double head = 32000.0 * 4096, rest = 6738415616.0 - head;
  EXPECT_NEAR(weights.total, rest * 4.5 / 8 + head * 6.5625 / 8, 2e6) << "vectors are F32";
  EXPECT_NEAR(weights.streamed, weights.total - head * 4.5 / 8, 1) << "an embedding is looked up";
  EXPECT_EQ(weights.by_type.front().type, "Q4_0");
}

TEST(Devices, ASevenBillionModelNeedsMoreThanFourGigabytes) {
  const ModelConfig llama = preset("llama-7b");
  const DeviceFit fit =
      fit_on_device(find_device("pi4-4gb"), llama, weights_of_shape(llama), llama.context);
  EXPECT_FALSE(fit.fits());
  EXPECT_NEAR(fit.cache, 2.0 * 2 * 32 * 2048 * 4096, 1)
      << "1 GiB of keys and values at 2,048 tokens";
  EXPECT_NEAR(fit.shortfall, fit.total() - 3.4 * kGiB, 1);
  EXPECT_TRUE(
      fit_on_device(find_device("laptop-16gb"), llama, weights_of_shape(llama), llama.context)
          .fits());
}

// Peaks of llama.cpp's server with files of SmolLM2-135M's shape, a context of 2,048 and a prompt
// of 601 tokens on a processor with AVX2 (docs/results.md, "Memory in llama.cpp").
TEST(Devices, TheForecastIsWithinATenthOfWhatWasMeasured) {
  Origins origins;
  const ModelConfig smol =
      resolved(
          load_config(std::nullopt,
                      {"model.arch=llama", "model.layers=30", "model.d_model=576", "model.heads=9",
                       "model.kv_heads=3", "model.d_ff=1536", "model.vocabulary=49152",
                       "model.tied_embeddings=true", "model.context=2048", "schedule.steps=1"},
                      origins))
          .model;
  const Device& laptop = find_device("laptop-16gb");
  const struct {
    BlockType matrices, output;
    double measured;
  } files[] = {{BlockType::q4_0, BlockType::q8_0, 259.8e6},
               {BlockType::q8_0, BlockType::q8_0, 253.1e6},
               {BlockType::f16, BlockType::f16, 379.9e6}};
  for (const auto& [matrices, output, measured] : files)
    EXPECT_NEAR(fit_on_device(laptop, smol, weights_of_shape(smol, matrices, output), 2048).peak() /
                    measured,
                1, 0.1);
}

TEST(Devices, RearrangedBlocksAreNoReasonToRefuse) {
  const ModelConfig llama = preset("llama-7b");
  const ModelWeights weights = weights_of_shape(llama);
  const DeviceFit laptop = fit_on_device(find_device("laptop-8gb"), llama, weights, 2048);
  EXPECT_EQ(laptop.rearranged, weights.by_type.front().streamed) << "Q4_0, without the embedding";
  EXPECT_GT(laptop.peak(), find_device("laptop-8gb").memory);
  EXPECT_TRUE(laptop.fits()) << "the mapped pages can be dropped";
  EXPECT_EQ(fit_on_device(find_device("pi4-8gb"), llama, weights, 2048).rearranged, 0)
      << "a Cortex-A72 has no dot products";
  const DeviceFit phone = fit_on_device(find_device("phone-8gb"), llama, weights, 2048);
  EXPECT_EQ(phone.rearranged, weights.streamed - weights.by_type.back().streamed)
      << "Q6_K as well, all but vectors";
}

TEST(Devices, ARowThatNoBlockDividesIsF16) {
  ModelConfig model = preset("llama-7b");
  model.d_model = 4000;
  model.d_ff = 11000;
  for (const ModelWeights::OfType& of : weights_of_shape(model).by_type)
    EXPECT_GT(of.bytes, 0) << of.type;
  EXPECT_EQ(weights_of_shape(model, BlockType::q4_k).by_type.front().type, "F16");
}

TEST(Devices, NamesAreAnsweredWithTheList) {
  try {
    find_device("toaster");
    FAIL();
  } catch (const UserError& e) {
    EXPECT_NE(std::string(e.what()).find("laptop-16gb"), std::string::npos);
  }
}

}  // namespace
}  // namespace isoflop
