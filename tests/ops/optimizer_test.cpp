#include "core/rng.hpp"
#include "cpu/backend.hpp"
#include "ops/reference/backend.hpp"
#include "tests/cuda/emulated_device.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>
#include <limits>

namespace isoflop::test {
namespace {

AdamW step(Tensors& t, int64_t rows, int64_t cols, int number) {
  return {.p = t.random("p", rows, cols),
          .g = t.random("g", rows, cols),
          .m = t.constant("m", rows, cols, 0),
          .v = t.constant("squares", rows, cols, 0),
          .lr = 0.01,
          .beta1 = 0.9,
          .beta2 = 0.95,
          .eps = 1e-8,
          .weight_decay = 0.1,
          .correction1 = 1 - std::pow(0.9, number),
          .correction2 = 1 - std::pow(0.95, number),
          .grad_scale = 0.5};
}

OpCase adamw(int64_t rows, int64_t cols) {
  OpCase c;
  c.name = fmt::format("adamw_{}x{}", rows, cols);
  c.forward = [=](Backend& backend, Tensors& t) {
    for (int number = 1; number <= 5; ++number) backend.adamw(step(t, rows, cols, number));
  };
  c.bound = fp32_bound(25);  // five steps of a few roundings
  return c;
}

/// Moments in bf16. One that differs in its last fp32 bit may be rounded to the other neighbour, by
/// 2^-7 of it at most, and the steps that follow, of 0.01 at most, are made of it.
OpCase adamw_bf16(int64_t rows, int64_t cols) {
  OpCase c;
  c.name = fmt::format("adamw_bf16_{}x{}", rows, cols);
  c.forward = [=](Backend& backend, Tensors& t) {
    const Tensor m(DType::bf16, rows, cols), v(DType::bf16, rows, cols);
    for (int number = 1; number <= 5; ++number) {
      AdamW a = step(t, rows, cols, number);
      a.m = m;
      a.v = v;
      a.rounding = {
          .seed = 3, .stream = 4, .counter = 0xfffffff0u + static_cast<uint64_t>(number) * 5};
      backend.adamw(a);
    }
  };
  c.bound = 4 * 0.01 * (0x1p-7 + 0x1p-8);  // m and the root of v, in four steps that follow
  return c;
}

/// p (rows, cols) from m and g with that inner length.
OpCase state_product(int64_t rows, int64_t cols, int64_t inner, bool ta, bool tb, double beta) {
  OpCase c;
  c.name = fmt::format("state_product_{}x{}x{}{}{}{}", rows, cols, inner, ta ? "_ta" : "",
                       tb ? "_tb" : "", beta != 0 ? "_beta" : "");
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.state_product({.a = ta ? t.random("m", inner, rows) : t.random("m", rows, inner),
                           .b = tb ? t.random("g", cols, inner) : t.random("g", inner, cols),
                           .c = beta != 0 ? t.random("p", rows, cols) : t.output("p", rows, cols),
                           .transpose_a = ta,
                           .transpose_b = tb,
                           .alpha = -0.5,
                           .beta = beta});
  };
  c.bound = fp32_bound(inner);
  return c;
}

OpCase weighted_sum(int64_t rows, int64_t cols, double b) {
  OpCase c;
  c.name = fmt::format("weighted_sum_{}x{}{}", rows, cols, b != 0 ? "_both" : "");
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.weighted_sum({.x = t.random("g", rows, cols),
                          .y = b != 0 ? t.random("p", rows, cols) : t.output("p", rows, cols),
                          .a = 0.375,
                          .b = b});
  };
  c.bound = fp32_bound(2);
  return c;
}

const std::vector<OpCase> kAll = {adamw(1, 1),
                                  adamw(7, 96),
                                  adamw(33, 384),
                                  adamw(1, 2053),
                                  adamw(40, 2053),
                                  adamw_bf16(1, 1),
                                  adamw_bf16(7, 9),
                                  adamw_bf16(40, 2053),
                                  state_product(1, 1, 1, false, false, 0),
                                  state_product(33, 96, 40, false, false, -4.775),
                                  state_product(33, 33, 260, false, true, 0),
                                  state_product(48, 48, 130, true, false, 0),
                                  state_product(130, 70, 9, true, true, 1),
                                  weighted_sum(1, 3, 0),
                                  weighted_sum(40, 2053, -2),
                                  weighted_sum(40, 2048, 0.5)};
INSTANTIATE_TEST_SUITE_P(Optimizer, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Optimizer, OpThreads, ::testing::ValuesIn(kAll), case_name);

// With a constant gradient the corrected moments are g and g^2, so every step is
// p -= lr * decay * p + lr * g / (|g| + eps).
TEST(AdamW, ConstantGradient) {
  Tensors t(DType::f64);
  const View p = t.random("p", 1, 5), g = t.random("g", 1, 5);
  std::vector<double> want;
  for (int64_t i = 0; i < 5; ++i) want.push_back(value_at(p, 0, i));
  const auto backend = make_reference_backend(DType::f64);
  for (int number = 1; number <= 20; ++number) {
    backend->adamw(step(t, 1, 5, number));
    for (int64_t i = 0; i < 5; ++i) {
      const double gi = 0.5 * value_at(g, 0, i);
      double& w = want[static_cast<size_t>(i)];
      w -= 0.01 * 0.1 * w + 0.01 * gi / (std::abs(gi) + 1e-8);
      EXPECT_NEAR(value_at(p, 0, i), w, 1e-13) << number;
    }
  }
}

// With beta 0 and no scaling the moments before rounding are g and g^2 in every backend, so that
// what they become shows the random words; the counter passes 2^32.
TEST(AdamW, MomentsInBf16AreRoundedByTheWordsOfTheirPlace) {
  ThreadTeam one(1), three(3);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(make_reference_backend(DType::f32));
  backends.push_back(make_cpu_backend(one));
  backends.push_back(make_cpu_backend(three));
  backends.push_back(make_emulated_gpu());
  for (const int64_t size : {1, 3, 4, 67, 1024, 1029, 70'003}) {
    const Tensor g(DType::f32, 1, size);
    fill_normal(g, 5);
    set_value(g, 0, size / 2, std::nan(""));
    const uint64_t seed = 0x123456789abcdefu, stream = 0xfedcba987654321u, counter = 0xfffffffau;
    for (const auto& backend : backends) {
      const Tensor p(DType::f32, 1, size), m(DType::bf16, 1, size), v(DType::bf16, 1, size);
      backend->adamw({.p = p,
                      .g = g,
                      .m = m,
                      .v = v,
                      .beta1 = 0,
                      .beta2 = 0,
                      .rounding = {seed, stream, counter}});
      for (int64_t i = 0; i < size; ++i) {
        const float x = g.view().as<float>()[i];
        const uint32_t word = philox(seed, stream, counter + static_cast<uint64_t>(i / 4))[i % 4];
        ASSERT_EQ(m.view().as<bf16>()[i].bits, to_bf16_at_random(x, word & 0xffffu).bits)
            << backend->description() << " of " << size << " at " << i;
        ASSERT_EQ(v.view().as<bf16>()[i].bits, to_bf16_at_random(x * x, word >> 16).bits)
            << backend->description() << " of " << size << " at " << i;
      }
    }
  }
}

class SumSquares : public ::testing::TestWithParam<int64_t> {};

TEST_P(SumSquares, IsExactToDouble) {
  const Tensor x(DType::f32, 1, GetParam()), wide(DType::f64, 1, GetParam());
  fill_normal(x, 1);
  fill_normal(wide, 1);
  long double want = 0;
  for (int64_t i = 0; i < GetParam(); ++i) {
    const long double value = value_at(x, 0, i);
    want += value * value;
  }
  ThreadTeam one(1), three(3);
  const auto cpu = make_cpu_backend(one), cpu3 = make_cpu_backend(three);
  const double bound = 1e-13 * static_cast<double>(want);
  EXPECT_NEAR(make_reference_backend(DType::f32)->sum_squares(x), static_cast<double>(want), bound);
  EXPECT_NEAR(make_reference_backend(DType::f64)->sum_squares(wide), static_cast<double>(want),
              bound);
  EXPECT_NEAR(cpu->sum_squares(x), static_cast<double>(want), bound);
  EXPECT_EQ(cpu->sum_squares(x), cpu3->sum_squares(x)) << "bits must not depend on threads";
}
INSTANTIATE_TEST_SUITE_P(Optimizer,
                         SumSquares,
                         ::testing::Values(0, 1, 7, 4095, 4096, 4097, 100'003));

TEST(SumSquares, LargeValuesAndNonFinite) {
  ThreadTeam team(2);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(make_reference_backend(DType::f32));
  backends.push_back(make_cpu_backend(team));
  for (const auto& backend : backends) {
    const Tensor x(DType::f32, 3, 5000);
    fill(x, 1e30);  // squares overflow float
    EXPECT_NEAR(backend->sum_squares(x), 15000e60, 1e-6 * 15000e60) << backend->description();
    set_value(x, 2, 4999, std::numeric_limits<double>::infinity());
    EXPECT_EQ(backend->sum_squares(x), std::numeric_limits<double>::infinity());
    set_value(x, 1, 17, std::nan(""));
    EXPECT_TRUE(std::isnan(backend->sum_squares(x))) << backend->description();
  }
}

}  // namespace
}  // namespace isoflop::test
