// Block codecs against the reference's bytes, and against their own definition.
#include "formats/block_codec.hpp"

#include "core/file.hpp"
#include "core/rng.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <vector>

namespace isoflop {
namespace {

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

std::vector<float> quantize_and_back(const BlockCodec& codec, const std::vector<float>& values) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> blocks(static_cast<size_t>(codec.bytes_for(count)));
  codec.quantize(values.data(), count, blocks.data());
  std::vector<float> back(values.size());
  codec.dequantize(blocks.data(), count, back.data());
  return back;
}

class Golden : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto path = test::shared_data("ref/golden_quant.json");
    if (!path) GTEST_SKIP() << test::missing_shared_data("ref/golden_quant.json");
    golden_ = nlohmann::json::parse(read_file(*path));
    const auto bytes = from_hex(golden_["f32_le_hex"]);
    values_.resize(bytes.size() / sizeof(float));
    std::memcpy(values_.data(), bytes.data(), bytes.size());
    ASSERT_EQ(values_.size(), 8u * 512u);
  }
  nlohmann::json golden_;
  std::vector<float> values_;
};

TEST_F(Golden, QuantizersGiveTheReferenceBytes) {
  int compared = 0;
  for (const auto& [name, bytes] : golden_["types"].items()) {
    const BlockCodec* codec = find_block_codec(name);
    ASSERT_TRUE(codec) << name;
    if (!codec->quantize) continue;
    const auto expected = from_hex(bytes["plain"]);
    std::vector<std::byte> blocks(expected.size());
    const auto count = static_cast<int64_t>(values_.size());
    ASSERT_EQ(static_cast<size_t>(codec->bytes_for(count)), expected.size()) << name;
    codec->quantize(values_.data(), count, blocks.data());
    EXPECT_EQ(blocks, expected) << name;
    ++compared;
  }
  EXPECT_GE(compared, 5);
}

// The reference's own quantizers choose levels near the value, so reading their bytes must come
// back within a few steps of the row's scale; any wrong shift, nibble or scale is far outside.
TEST_F(Golden, DequantizersReadTheReferenceBytes) {
  int compared = 0;
  for (const auto& [name, bytes] : golden_["types"].items()) {
    const BlockCodec* codec = find_block_codec(name);
    if (!codec->dequantize) continue;
    for (const char* kind : {"plain", "weighted"}) {
      const auto blocks = from_hex(bytes[kind]);
      std::vector<float> back(values_.size());
      codec->dequantize(blocks.data(), static_cast<int64_t>(back.size()), back.data());
      double error = 0, power = 0;
      for (size_t i = 0; i < back.size(); ++i) {
        error += std::pow(double{back[i]} - values_[i], 2);
        power += std::pow(double{values_[i]}, 2);
      }
      // Gaussian rows: 4 bits lose about 1 % of the power, 5 bits 0.3 %, 6 and 8 bits far less.
      EXPECT_LT(error / power, name.find('4') != std::string::npos ? 1.5e-2 : 4e-3) << name << kind;
      EXPECT_GT(error, 0) << name << kind;
    }
    ++compared;
  }
  EXPECT_EQ(compared, 11);
}

TEST(BlockCodec, TableIsConsistentAndFindsByIdAndName) {
  for (const BlockCodec& codec : block_codecs()) {
    EXPECT_EQ(find_block_codec(static_cast<uint32_t>(codec.type)), &codec);
    EXPECT_EQ(find_block_codec(codec.name), &codec);
    EXPECT_TRUE(codec.dequantize || !codec.quantize) << codec.name;
    EXPECT_TRUE(codec.fits(256));
  }
  EXPECT_EQ(find_block_codec("q4_0"), &block_codec(BlockType::q4_0));
  EXPECT_EQ(find_block_codec("q4"), nullptr);
  EXPECT_EQ(find_block_codec(5), nullptr);
  EXPECT_FALSE(block_codec(BlockType::q8_0).fits(48));
  EXPECT_EQ(block_codec(BlockType::q4_0).bytes_for(64), 36);
}

TEST(BlockCodec, RoundTripStaysWithinOneStep) {
  std::vector<float> values(4096);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(0.02 * normal01(7, 1, i));
  // Largest magnitude of 4096 normals of std 0.02 is about 0.08. One step is that over the levels
  // on one side, half of it lost by rounding, and one more half where the extreme's mirror image is
  // cut off.
  const std::pair<BlockType, double> bounds[] = {
      {BlockType::f32, 0},           {BlockType::bf16, 0.09 / 256}, {BlockType::f16, 0.09 / 2048},
      {BlockType::q8_0, 0.09 / 127}, {BlockType::q4_0, 0.09 / 8},   {BlockType::q4_1, 0.09 / 7},
      {BlockType::q5_0, 0.09 / 16},  {BlockType::q5_1, 0.09 / 15}};
  for (const auto& [type, bound] : bounds) {
    const auto back = quantize_and_back(block_codec(type), values);
    for (size_t i = 0; i < values.size(); ++i)
      ASSERT_LE(std::fabs(back[i] - values[i]), bound) << block_codec(type).name << " " << i;
  }
}

TEST(BlockCodec, ZerosAndDenormalsAreSafe) {
  for (const BlockCodec& codec : block_codecs()) {
    if (!codec.quantize) continue;
    for (const float value : {0.0f, 1e-45f, -1e-39f, 3e-38f}) {
      const auto back = quantize_and_back(codec, std::vector<float>(64, value));
      for (const float v : back) ASSERT_LE(std::fabs(v), 1e-6f) << codec.name << " " << value;
    }
    for (const float value : {65504.0f, -65504.0f}) {
      const auto back = quantize_and_back(codec, std::vector<float>(64, value));
      for (const float v : back)
        ASSERT_NEAR(v, value, 65504.0 / 128) << codec.name;  // bf16 is the coarsest
    }
  }
}

}  // namespace
}  // namespace isoflop
