// Block codecs against the reference's bytes, and against their own definition.
#include "formats/block_codec.hpp"

#include "core/dtype.hpp"
#include "core/file.hpp"
#include "core/rng.hpp"
#include "formats/block_rounding.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>
#include <hwy/targets.h>
#include <nlohmann/json.hpp>

#include <algorithm>
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
  EXPECT_EQ(compared, 8);
}

TEST_F(Golden, WeightedQuantizersGiveTheReferenceBytes) {
  const auto bytes = from_hex(golden_["importance_f32_le_hex"]);
  std::vector<float> importance(bytes.size() / sizeof(float));
  std::memcpy(importance.data(), bytes.data(), bytes.size());
  const auto cols = static_cast<int64_t>(importance.size());
  int compared = 0;
  for (const auto& [name, entry] : golden_["types"].items()) {
    const BlockCodec* codec = find_block_codec(name);
    if (!codec->quantize_weighted) continue;
    const auto expected = from_hex(entry["weighted"]);
    std::vector<std::byte> blocks(expected.size());
    for (int64_t row = 0; row < 8; ++row)
      codec->quantize_weighted(values_.data() + row * cols, cols, importance.data(),
                               blocks.data() + row * codec->bytes_for(cols));
    EXPECT_EQ(blocks, expected) << name;
    ++compared;
  }
  EXPECT_EQ(compared, 7);
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
      {BlockType::q5_0, 0.09 / 16},  {BlockType::q5_1, 0.09 / 15},  {BlockType::q4_k, 0.09 / 7},
      {BlockType::q5_k, 0.09 / 15},  {BlockType::q6_k, 0.09 / 32}};
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
      const auto back = quantize_and_back(codec, std::vector<float>(256, value));
      for (const float v : back) ASSERT_LE(std::fabs(v), 1e-6f) << codec.name << " " << value;
    }
    for (const float value : {32768.0f, -32768.0f}) {
      const auto back = quantize_and_back(codec, std::vector<float>(256, value));
      // bf16 is the coarsest for a constant, then six-bit scales.
      for (const float v : back) ASSERT_NEAR(v, value, 32768.0 / 128) << codec.name;
    }
  }
}

/// Rows that quantizers meet seldom: constant ones of either sign, zeros of both signs, one value
/// among zeros, denormals beside ordinary values, whole blocks of zeros, few levels, one sign.
std::vector<float> hostile_rows(int64_t cols) {
  std::vector<float> values;
  const auto add = [&](auto&& value_at) {
    for (int64_t c = 0; c < cols; ++c) values.push_back(static_cast<float>(value_at(c)));
  };
  for (const float constant : {0.0f, 1.0f, -1.0f, 1e-20f, -1e-20f, 1e-38f, -1e-45f, 3e-8f, 6e-5f})
    add([&](int64_t) { return constant; });
  const auto normal = [&](uint64_t stream, int64_t c) {
    return normal01(11, stream, static_cast<uint64_t>(c));
  };
  add([&](int64_t c) { return c % 3 ? 0.0f : -0.0f; });
  add([&](int64_t c) { return c == cols / 3 ? -0.7 : 0.0; });
  add([&](int64_t c) { return c % 5 ? normal(1, c) : 1e-42; });
  add([&](int64_t c) { return c / 256 % 2 ? normal(2, c) : 0.0; });
  add([&](int64_t c) { return std::round(2 * normal(3, c)) / 4; });
  add([&](int64_t c) { return std::fabs(normal(4, c)); });
  add([&](int64_t c) { return -std::fabs(normal(5, c)); });
  add([&](int64_t c) { return 1e-7 * normal(6, c); });
  add([&](int64_t c) { return 1e-38 * normal(7, c); });
  add([&](int64_t c) { return std::clamp(2e4 * normal(8, c), -32768.0, 32768.0); });
  return values;
}

std::vector<float> some_importance(int64_t cols) {
  std::vector<float> importance;
  for (int64_t c = 0; c < cols; ++c)
    importance.push_back(c % 7 == 0 ? 0.0f : static_cast<float>(std::pow(normal01(12, 1, c), 2)));
  return importance;
}

/// Plain, then weighted where the type has that.
std::vector<std::vector<std::byte>> all_blocks(const BlockCodec& codec,
                                               const std::vector<float>& values,
                                               const std::vector<float>& importance) {
  const auto count = static_cast<int64_t>(values.size());
  const auto cols = static_cast<int64_t>(importance.size());
  std::vector<std::byte> blocks(static_cast<size_t>(codec.bytes_for(count)));
  codec.quantize(values.data(), count, blocks.data());
  std::vector<std::vector<std::byte>> result = {blocks};
  if (!codec.quantize_weighted) return result;
  for (int64_t row = 0; row < count / cols; ++row)
    codec.quantize_weighted(values.data() + row * cols, cols, importance.data(),
                            blocks.data() + row * codec.bytes_for(cols));
  result.push_back(blocks);
  return result;
}

TEST(BlockCodec, HostileRowsComeBackFiniteAndNoLargerThanTheyWere) {
  constexpr int64_t kCols = 768;
  const auto values = hostile_rows(kCols);
  const auto importance = some_importance(kCols);
  for (const BlockCodec& codec : block_codecs()) {
    if (!codec.quantize) continue;
    for (const auto& blocks : all_blocks(codec, values, importance)) {
      std::vector<float> back(values.size());
      codec.dequantize(blocks.data(), static_cast<int64_t>(values.size()), back.data());
      for (size_t row = 0; row < values.size(); row += kCols) {
        float largest = 0;
        for (size_t i = row; i < row + kCols; ++i)
          largest = std::max(largest, std::fabs(values[i]));
        // The least F16, times 15 or 31 levels and more scales, is what tiny rows may become.
        for (size_t i = row; i < row + kCols; ++i)
          ASSERT_LE(std::fabs(back[i]), 1.1f * largest + 2e-6f)
              << codec.name << " row " << row / kCols << " of " << values[i];
      }
    }
  }
}

/// The block of 32 values as the format defines it, value by value: d (and m), levels.
std::vector<int> levels_by_definition(BlockType type, const float* x, float& d, float& m) {
  std::vector<int> q(32);
  float extreme = 0, low = x[0], high = x[0];
  for (int j = 0; j < 32; ++j) {
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
    if (x[j] < low) low = x[j];
    if (x[j] > high) high = x[j];
  }
  const bool wide = type == BlockType::q5_0 || type == BlockType::q5_1;
  const bool symmetric = type == BlockType::q4_0 || type == BlockType::q5_0;
  const int half = wide ? 16 : 8, top = 2 * half - 1;
  m = symmetric || type == BlockType::q8_0 ? 0 : low;
  d = type == BlockType::q8_0 ? std::fabs(extreme) / 127.0f
      : symmetric             ? extreme / static_cast<float>(-half)
                              : (high - low) / static_cast<float>(top);
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  for (int j = 0; j < 32; ++j) {
    const float level = (x[j] - m) * inverse;
    if (!std::isfinite(level)) continue;
    q[static_cast<size_t>(j)] =
        type == BlockType::q8_0
            ? static_cast<int>(std::round(level))
            : std::min(top, static_cast<int>(level +
                                             (symmetric ? static_cast<float>(half) + 0.5f : 0.5f)));
  }
  return q;
}

TEST(BlockCodec, PlainRoundingIsTheDefinition) {
  std::vector<float> values = hostile_rows(256);
  for (int j = 0; j < 32; ++j)  // equal magnitudes, the negative one first, then last
    values.push_back(j % 9 == 4 ? (j % 2 ? 3.0f : -3.0f) : static_cast<float>(j) / 16);
  for (int j = 0; j < 32; ++j) values.push_back(j % 9 == 4 ? (j % 2 ? -3.0f : 3.0f) : 0.5f);
  for (int j = 0; j < 32; ++j)  // halves and their neighbours on Q8_0's grid of 1
    values.push_back(j == 0 ? 127.0f : std::nextafter(static_cast<float>(j - 16) + 0.5f, 100.0f));
  for (int j = 0; j < 32; ++j) values.push_back(j == 0 ? -127.0f : static_cast<float>(j) - 16.5f);
  for (int j = 0; j < 32; ++j) values.push_back(j == 9 ? 127.0f : std::nextafter(0.5f, 0.0f));
  for (const BlockType type :
       {BlockType::q4_0, BlockType::q4_1, BlockType::q5_0, BlockType::q5_1, BlockType::q8_0}) {
    const BlockCodec& codec = block_codec(type);
    std::vector<std::byte> block(static_cast<size_t>(codec.block_bytes));
    for (size_t first = 0; first < values.size(); first += 32) {
      codec.quantize(values.data() + first, 32, block.data());
      float d = 0, m = 0;
      const std::vector<int> q = levels_by_definition(type, values.data() + first, d, m);
      const bool minimum = type == BlockType::q4_1 || type == BlockType::q5_1;
      const bool fifth = type == BlockType::q5_0 || type == BlockType::q5_1;
      const std::byte* at = block.data();
      const auto next = [&](auto& out) {
        std::memcpy(&out, at, sizeof(out));
        at += sizeof(out);
      };
      f16 stored{};
      next(stored);
      ASSERT_EQ(stored.bits, to_f16(d).bits) << codec.name << " scale of block " << first / 32;
      if (minimum) {
        next(stored);
        ASSERT_EQ(stored.bits, to_f16(m).bits) << codec.name << " minimum of " << first / 32;
      }
      uint32_t bits = 0;
      if (fifth) next(bits);
      for (size_t j = 0; j < 32; ++j) {
        int level = static_cast<int8_t>(at[j % 16]);
        if (type == BlockType::q8_0)
          level = static_cast<int8_t>(at[j]);
        else
          level = (j < 16 ? level & 15 : level >> 4 & 15) + static_cast<int>(bits >> j & 1) * 16;
        ASSERT_EQ(level, q[j]) << codec.name << " value " << j << " of block " << first / 32;
      }
    }
  }
}

class BlockCodecOnEveryMachine : public ::testing::Test {
 protected:
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

TEST_F(BlockCodecOnEveryMachine, BytesAreTheSameWithVectorsOfAnyWidth) {
  std::vector<float> values = hostile_rows(768);
  for (uint64_t i = 0; i < 17 * 768; ++i) values.push_back(static_cast<float>(normal01(3, 1, i)));
  const auto importance = some_importance(768);
  for (const BlockCodec& codec : block_codecs()) {
    if (!codec.quantize) continue;
    const auto expected = all_blocks(codec, values, importance);
    for (const int64_t target :
         {int64_t{HWY_AVX3}, int64_t{HWY_AVX2}, int64_t{HWY_STATIC_TARGET}}) {
      if (!(hwy::SupportedTargets() & target) && target != HWY_STATIC_TARGET) continue;
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      EXPECT_EQ(all_blocks(codec, values, importance), expected)
          << codec.name << " " << hwy::TargetName(target);
      TearDown();
    }
  }
}

TEST(BlockCodec, ImportanceLowersTheErrorWhereItMatters) {
  constexpr int64_t kCols = 512, kRows = 16;
  std::vector<float> values;
  for (uint64_t i = 0; i < kRows * kCols; ++i)
    values.push_back(static_cast<float>(0.02 * normal01(5, 1, i)));
  const auto importance = some_importance(kCols);
  for (const BlockCodec& codec : block_codecs()) {
    if (!codec.quantize_weighted) continue;
    std::vector<double> errors;
    for (const auto& blocks : all_blocks(codec, values, importance)) {
      std::vector<float> back(values.size());
      codec.dequantize(blocks.data(), kRows * kCols, back.data());
      double& error = errors.emplace_back();
      for (size_t i = 0; i < values.size(); ++i)
        error += importance[i % kCols] * std::pow(double{back[i]} - values[i], 2);
    }
    EXPECT_LT(errors[1], 0.95 * errors[0]) << codec.name;
  }
}

// What training on a grid relies on: a file of rounded weights has the bytes of a file of the
// weights themselves, whatever factor is folded in, and rounding is what a file does.
TEST(BlockRounding, RoundedWeightsHaveTheBlocksOfTheWeights) {
  constexpr int64_t kRows = 5, kCols = 96;  // pieces of several rows, and a tail
  std::vector<float> values(kRows * kCols * 5);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>(normal01(4, 4, i) * std::pow(10.0, static_cast<double>(i % 4)));
  std::fill_n(values.begin(), 32, 0.0f);
  const auto rows = static_cast<int64_t>(values.size()) / kCols;
  for (const BlockType type : {BlockType::q4_0, BlockType::q5_0, BlockType::q8_0, BlockType::f16}) {
    const BlockCodec& codec = block_codec(type);
    for (const float factor : {1.0f, 0.25f, 0.3f}) {
      std::vector<float> folded = values, rounded(values.size()), again(values.size());
      for (float& x : folded) x *= factor;
      round_to_blocks(codec, values.data(), rows, kCols, factor, rounded.data());
      std::vector<float> refolded = rounded;
      for (float& x : refolded) x *= factor;
      const auto count = static_cast<int64_t>(values.size());
      std::vector<std::byte> of_weights(static_cast<size_t>(codec.bytes_for(count)));
      std::vector<std::byte> of_rounded(of_weights.size());
      codec.quantize(folded.data(), count, of_weights.data());
      codec.quantize(refolded.data(), count, of_rounded.data());
      EXPECT_EQ(of_rounded, of_weights) << codec.name << " " << factor;
      if (factor == 1.0f) {
        EXPECT_EQ(rounded, quantize_and_back(codec, values)) << codec.name;
      }
      again = rounded;  // in place
      round_to_blocks(codec, again.data(), rows, kCols, factor, again.data());
      for (size_t i = 0; i < again.size(); ++i)
        ASSERT_NEAR(again[i], rounded[i], 1e-6f * std::fabs(rounded[i])) << codec.name;
    }
  }
}

}  // namespace
}  // namespace isoflop
