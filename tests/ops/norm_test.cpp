#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>

namespace isoflop::test {
namespace {

// `offset` / 1 is the ratio of mean to spread; the mean's own rounding is amplified by it.
OpCase layernorm(int64_t N, int64_t D, double offset = 0, bool bias = true) {
  OpCase c;
  c.name = fmt::format("layernorm_{}x{}{}{}", N, D, offset != 0 ? "_offset" : "",
                       bias ? "" : "_without_bias");
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.layernorm_forward({.x = t.random("x", N, D, 1, offset),
                               .gain = t.random("gain", 1, D, 0.2, 1),
                               .bias = bias ? t.random("bias", 1, D) : View{},
                               .y = t.output("y", N, D),
                               .mean = t.output("mean", N, 1),
                               .inv_std = t.output("inv_std", N, 1)});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    backend.layernorm_backward({.dy = t.random("dy", N, D),
                                .x = t["x"],
                                .gain = t["gain"],
                                .mean = t["mean"],
                                .inv_std = t["inv_std"],
                                .dx_add = t.random("dx", N, D),
                                .dgain = t.random("dgain", 1, D),
                                .dbias = bias ? t.random("dbias", 1, D) : View{}});
  };
  c.inputs = {"x", "gain"};
  if (bias) c.inputs.push_back("bias");
  c.outputs = {"y"};
  c.bound = fp32_bound(std::max(N, D)) * (1 + std::abs(offset));
  return c;
}

OpCase rmsnorm(int64_t N, int64_t D) {
  OpCase c;
  c.name = fmt::format("rmsnorm_{}x{}", N, D);
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.rmsnorm_forward({.x = t.random("x", N, D),
                             .gain = t.random("gain", 1, D, 0.2, 1),
                             .y = t.output("y", N, D),
                             .inv_rms = t.output("inv_rms", N, 1)});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    backend.rmsnorm_backward({.dy = t.random("dy", N, D),
                              .x = t["x"],
                              .gain = t["gain"],
                              .inv_rms = t["inv_rms"],
                              .dx_add = t.random("dx", N, D),
                              .dgain = t.random("dgain", 1, D)});
  };
  c.inputs = {"x", "gain"};
  c.outputs = {"y"};
  c.bound = fp32_bound(std::max(N, D));
  return c;
}

const std::vector<OpCase> kSmall = {layernorm(1, 8),    layernorm(3, 12),
                                    layernorm(2, 7, 5), layernorm(3, 12, 0, false),
                                    rmsnorm(1, 8),      rmsnorm(3, 13)};
const std::vector<OpCase> kAll = {
    layernorm(1, 8),    layernorm(7, 96), layernorm(33, 384),   layernorm(7, 2053),
    layernorm(130, 96), layernorm(0, 8),  layernorm(7, 96, 30), layernorm(7, 96, 0, false),
    rmsnorm(1, 8),      rmsnorm(7, 96),   rmsnorm(33, 384),     rmsnorm(7, 2053),
    rmsnorm(130, 96),   rmsnorm(0, 8)};

INSTANTIATE_TEST_SUITE_P(Norm, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(Norm, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Norm, OpThreads, ::testing::ValuesIn(kAll), case_name);

TEST(LayerNorm, ByHand) {
  Tensors t(DType::f64);
  const View x = t.output("x", 1, 4);
  for (int i = 0; i < 4; ++i) set_value(x, 0, i, 2.0 * i);  // mean 3, variance 5
  make_reference_backend(DType::f64)
      ->layernorm_forward({.x = x,
                           .gain = t.constant("gain", 1, 4, 10),
                           .bias = t.constant("bias", 1, 4, 1),
                           .y = t.output("y", 1, 4),
                           .mean = t.output("mean", 1, 1),
                           .inv_std = t.output("inv_std", 1, 1),
                           .eps = 4});
  EXPECT_DOUBLE_EQ(value_at(t["mean"], 0, 0), 3);
  EXPECT_DOUBLE_EQ(value_at(t["inv_std"], 0, 0), 1.0 / 3);
  for (int i = 0; i < 4; ++i) EXPECT_DOUBLE_EQ(value_at(t["y"], 0, i), (2.0 * i - 3) / 3 * 10 + 1);
}

TEST(RmsNorm, ByHand) {
  Tensors t(DType::f64);
  const View x = t.output("x", 1, 2);
  set_value(x, 0, 0, 1);
  set_value(x, 0, 1, -5);  // mean of squares 13
  make_reference_backend(DType::f64)
      ->rmsnorm_forward({.x = x,
                         .gain = t.constant("gain", 1, 2, 2),
                         .y = t.output("y", 1, 2),
                         .inv_rms = t.output("inv_rms", 1, 1),
                         .eps = 3});
  EXPECT_DOUBLE_EQ(value_at(t["y"], 0, 0), 0.5);
  EXPECT_DOUBLE_EQ(value_at(t["y"], 0, 1), -2.5);
}

}  // namespace
}  // namespace isoflop::test
