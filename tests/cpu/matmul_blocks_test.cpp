// Products with quantized blocks against double precision on the same rounded activations, and the
// same bits on any number of threads.
#include "core/rng.hpp"
#include "cpu/backend.hpp"
#include "formats/block_codec.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

namespace isoflop {
namespace {

struct Matrix {
  std::vector<float> values;
  View view;
  Matrix(int64_t rows, int64_t cols, uint64_t stream)
      : values(static_cast<size_t>(rows * cols)), view(make_view(values.data(), rows, cols)) {
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(normal01(5, stream, i));
  }
};

/// Blocks are rounded to their largest magnitude over 127.
std::vector<double> rounded(const Matrix& x, int64_t elements, bool f16_scale) {
  std::vector<double> result;
  for (size_t first = 0; first < x.values.size(); first += static_cast<size_t>(elements)) {
    const float* block = x.values.data() + first;
    float largest = 0;
    for (int64_t i = 0; i < elements; ++i) largest = std::max(largest, std::fabs(block[i]));
    const float scale = largest / 127;
    const double kept = f16_scale ? to_float(to_f16(scale)) : scale;
    for (int64_t i = 0; i < elements; ++i)
      result.push_back(largest == 0 ? 0 : kept * std::lrintf(block[i] / scale));
  }
  return result;
}

struct Case {
  BlockType type;
  int64_t elements;  // of a block of activations
  bool f16_scale;
};

class MatmulBlocks : public testing::TestWithParam<Case> {};

TEST_P(MatmulBlocks, MatchesDoubleOnRoundedActivations) {
  const BlockCodec& codec = block_codec(GetParam().type);
  ThreadTeam team(2), alone(1);
  const auto backend = make_cpu_backend(team), single = make_cpu_backend(alone);
  uint64_t stream = 0;
  for (const int64_t rows : {1, 7, 65, 300})
    for (const int64_t tokens : {1, 2, 5, 33, 70}) {
      const int64_t cols = rows == 7 ? 256 : 768;
      // Any bytes are blocks; with a positive exponent of the F16 numbers around one.
      std::vector<std::byte> blocks(static_cast<size_t>(codec.bytes_for(rows * cols)));
      for (size_t i = 0; i < blocks.size(); ++i)
        blocks[i] = static_cast<std::byte>(philox(12, stream, i)[0] & 0xff);
      for (size_t at = 0; at < blocks.size(); at += static_cast<size_t>(codec.block_bytes))
        for (const size_t number : {size_t{0}, size_t{2}, size_t{208}})
          if (number + 2 <= static_cast<size_t>(codec.block_bytes))
            blocks[at + number + 1] = static_cast<std::byte>(0x20 | (at / 7 & 0x83));
      std::vector<float> weights(static_cast<size_t>(rows * cols));
      codec.dequantize(blocks.data(), rows * cols, weights.data());
      Matrix x(tokens, cols, ++stream), add(tokens, rows, ++stream), bias(1, rows, ++stream);
      Matrix y(tokens, rows, ++stream), other(tokens, rows, ++stream);
      const BlockMatrix matrix{blocks.data(), static_cast<uint32_t>(codec.type), rows, cols};
      Matmul op{.x = x.view,
                .w = backend->prepare_blocks(matrix),
                .bias = bias.view,
                .add = add.view,
                .y = y.view,
                .scale = 0.5};
      backend->matmul(op);
      op.w = single->prepare_blocks(matrix);
      op.y = other.view;
      single->matmul(op);
      ASSERT_EQ(y.values, other.values) << "threads change the bits";
      Matmul last = op;  // a token alone, as when text is written
      last.x = op.x.slice(tokens - 1, 1);
      last.add = op.add.slice(tokens - 1, 1);
      last.y = op.y.slice(tokens - 1, 1);
      backend->zero(last.y);
      single->matmul(last);
      ASSERT_EQ(y.values, other.values) << "other tokens change the bits";
      const std::vector<double> inputs = rounded(x, GetParam().elements, GetParam().f16_scale);
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t r = 0; r < rows; ++r) {
          double sum = 0, size = 0;
          for (int64_t c = 0; c < cols; ++c) {
            const double product = static_cast<double>(weights[static_cast<size_t>(r * cols + c)]) *
                                   inputs[static_cast<size_t>(t * cols + c)];
            sum += product;
            size += std::fabs(product);
          }
          const double expected = add.view.row<float>(t)[r] + 0.5 * (sum + bias.values[r]);
          // Sums of types with a minimum are kept in F16 (2^-11 of them); the rest is fp32.
          ASSERT_NEAR(y.view.row<float>(t)[r], expected, 6e-4 * size + 1e-5) << t << ' ' << r;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Types,
                         MatmulBlocks,
                         testing::Values(Case{BlockType::q8_0, 32, true},
                                         Case{BlockType::q4_0, 32, true},
                                         Case{BlockType::q5_0, 32, true},
                                         Case{BlockType::q4_1, 32, true},
                                         Case{BlockType::q5_1, 32, true},
                                         Case{BlockType::q4_k, 256, false},
                                         Case{BlockType::q5_k, 256, false},
                                         Case{BlockType::q6_k, 256, false}),
                         [](const auto& test) {
                           return std::string(block_codec(test.param.type).name);
                         });

TEST(MatmulBlocks, OtherTypesAndPartialBlocksAreNotTaken) {
  ThreadTeam team(1);
  const auto backend = make_cpu_backend(team);
  EXPECT_TRUE(backend->multiplies_by(static_cast<uint32_t>(BlockType::q4_0), 64));
  EXPECT_FALSE(backend->multiplies_by(static_cast<uint32_t>(BlockType::q4_0), 40));
  EXPECT_FALSE(backend->multiplies_by(static_cast<uint32_t>(BlockType::q4_k), 64));
  EXPECT_FALSE(backend->multiplies_by(static_cast<uint32_t>(BlockType::mxfp4), 64));
  EXPECT_FALSE(backend->multiplies_by(12345, 64));
  EXPECT_THROW(backend->prepare_blocks({nullptr, 12345, 1, 32}), std::exception);
}

TEST(MatmulBlocks, HaveNoGradient) {
  ThreadTeam team(1);
  const auto backend = make_cpu_backend(team);
  const std::vector<std::byte> blocks(18);
  const WeightRef w =
      backend->prepare_blocks({blocks.data(), static_cast<uint32_t>(BlockType::q4_0), 1, 32});
  Matrix dy(2, 1, 1), dx(2, 32, 2);
  EXPECT_THROW(backend->matmul_grad_input({.dy = dy.view, .w = w, .dx = dx.view}), std::exception);
}

}  // namespace
}  // namespace isoflop
