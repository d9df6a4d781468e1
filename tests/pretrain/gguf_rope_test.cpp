#include "pretrain/gguf_rope.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop {
namespace {

ModelConfig head_of_64() {
  ModelConfig c;
  c.arch = Arch::llama;
  c.head_dim = 64;
  c.rotary_fraction = 1;
  c.rope_base = 500000;
  return c;
}

// As Llama 3.2 describes it: wavelengths below 2,048 stay, above 8,192 they grow by 32, and between
// the two the inverse is interpolated.
std::vector<float> published_divisors() {
  std::vector<float> divisors;
  for (int j = 0; j < 32; ++j) {
    const double wavelength = 2 * M_PI * std::pow(500000.0, j / 32.0);
    const double smooth = (8192 / wavelength - 1) / 3;
    divisors.push_back(wavelength < 2048   ? 1.0f
                       : wavelength > 8192 ? 32.0f
                                           : static_cast<float>(1 / ((1 - smooth) / 32 + smooth)));
  }
  return divisors;
}

TEST(GgufRope, DivisorsAreThePublishedOnes) {
  ModelConfig c = head_of_64();
  c.rope_scaling = "llama3";
  c.rope_scaling_factor = 32;
  c.rope_original_context = 8192;
  const std::vector<float> divisors = gguf::rope_divisors(c), published = published_divisors();
  ASSERT_EQ(divisors.size(), published.size());
  for (size_t j = 0; j < divisors.size(); ++j)
    EXPECT_NEAR(divisors[j], published[j], 1e-5 * published[j]) << j;
}

TEST(GgufRope, TheScalingIsFoundFromItsDivisors) {
  ModelConfig c = head_of_64();
  ASSERT_TRUE(gguf::set_rope_divisors(c, published_divisors()));
  EXPECT_EQ(c.rope_scaling, "llama3");
  EXPECT_EQ(c.rope_scaling_factor, 32);
  EXPECT_EQ(c.rope_original_context, 8192);
}

TEST(GgufRope, OtherDivisorsAreRefusedAndChangeNothing) {
  std::vector<std::vector<float>> wrong(4, published_divisors());
  wrong[0][20] *= 1.01f;
  wrong[1][0] = NAN;
  wrong[2].assign(32, INFINITY);
  wrong[3].assign(32, 0.5f);
  for (const std::vector<float>& divisors : wrong) {
    ModelConfig c = head_of_64();
    EXPECT_FALSE(gguf::set_rope_divisors(c, divisors));
    EXPECT_EQ(c.rope_scaling, "none");
  }
}

}  // namespace
}  // namespace isoflop
