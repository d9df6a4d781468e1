#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>

namespace isoflop::test {
namespace {

struct Options {
  bool bias = false, add = false, accumulate = false;
  double scale = 1;
  int64_t margin = 0;  // columns around x and y in wider rows, as in a packed buffer
};

OpCase matmul(int64_t N, int64_t in, int64_t out, Options o = {}) {
  OpCase c;
  c.name = fmt::format("matmul_{}x{}x{}{}{}{}{}{}", N, in, out, o.bias ? "_bias" : "",
                       o.add ? "_add" : "", o.accumulate ? "_accumulate" : "",
                       o.scale != 1 ? "_scale" : "", o.margin ? "_strided" : "");
  const int64_t m = o.margin;
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.matmul({.x = t.random("x", N, in + 2 * m).columns(m, in),
                    .w = backend.prepare(t.random("w", out, in)),
                    .bias = o.bias ? t.random("bias", 1, out) : View{},
                    .add = o.add ? t.random("add", N, out) : View{},
                    .y = t.output("y", N, out + 2 * m).columns(m, out),
                    .scale = o.scale});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    const View dy = t.random("dy", N, out + 2 * m).columns(m, out);
    const View dx = o.accumulate ? t.random("dx", N, in + 2 * m) : t.output("dx", N, in + 2 * m);
    backend.matmul_grad_input({.dy = dy,
                               .w = backend.prepare(t["w"]),
                               .dx = dx.columns(m, in),
                               .scale = o.scale,
                               .accumulate = o.accumulate});
    backend.matmul_grad_weight({.dy = dy,
                                .x = t["x"].columns(m, in),
                                .dw = t.random("dw", out, in),
                                .dbias = o.bias ? t.random("dbias", 1, out) : View{},
                                .scale = o.scale});
  };
  c.inputs = {"x", "w"};
  if (o.bias) c.inputs.push_back("bias");
  c.outputs = {"y"};
  c.bound = fp32_bound(std::max({N, in, out}));
  return c;
}

const std::vector<OpCase> kSmall = {
    matmul(1, 3, 2), matmul(4, 3, 5, {.bias = true, .scale = 0.5}),
    matmul(3, 4, 2, {.bias = true, .add = true, .accumulate = true, .scale = -1.5})};
const std::vector<OpCase> kAll = {
    matmul(1, 8, 8),
    matmul(1, 384, 1152, {.bias = true}),
    matmul(7, 96, 33, {.bias = true}),
    matmul(33, 384, 96, {.bias = true, .add = true, .scale = 0.25}),
    matmul(33, 2053, 8, {.add = true}),
    matmul(7, 8, 2053, {.bias = true, .accumulate = true, .scale = 0.125}),
    matmul(130, 96, 384, {.accumulate = true}),
    matmul(33, 96, 96, {.bias = true, .accumulate = true, .scale = 2, .margin = 5}),
    matmul(513, 64, 130, {.bias = true, .margin = 1}),
    matmul(1030, 17, 9, {.bias = true})};

INSTANTIATE_TEST_SUITE_P(Matmul, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(Matmul, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Matmul, OpThreads, ::testing::ValuesIn(kAll), case_name);

// The hidden layer of an MLP, in and out. Spread 1 of the sums reaches both ends of GELU.
OpCase matmul_gelu(int64_t N, int64_t in, int64_t out, Gelu kind, Options o = {}) {
  OpCase c;
  c.name = fmt::format("matmul_gelu_{}_{}x{}x{}{}{}", kind == Gelu::erf ? "erf" : "tanh", N, in,
                       out, o.bias ? "_bias" : "", o.margin ? "_strided" : "");
  const int64_t m = o.margin;
  const double spread = 1 / std::sqrt(static_cast<double>(in));
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.matmul_gelu({.x = t.random("x", N, in),
                         .w = backend.prepare(t.random("w", out, in, spread)),
                         .bias = o.bias ? t.random("bias", 1, out) : View{},
                         .pre = t.output("pre", N, out + 2 * m).columns(m, out),
                         .y = t.output("y", N, out + 2 * m).columns(m, out),
                         .kind = kind});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    // As if `pre` were what the weight (D, out) behind it is given the gelu of.
    backend.matmul_gelu_grad_input({.dy = t.random("dlast", N, in),
                                    .w = backend.prepare(t.random("table", in, out, spread)),
                                    .pre = t["pre"].columns(m, out),
                                    .dx = t.output("dhidden", N, out + 2 * m).columns(m, out),
                                    .scale = o.scale,
                                    .kind = kind});
  };
  c.bound = 5 * fp32_bound(std::max(in, out));  // 5: see gelu_bound() in activation_test.cpp
  c.bf16_roundings = 2;                         // the product, where it is apart, and its gelu
  return c;
}
const std::vector<OpCase> kGelu = {
    matmul_gelu(7, 8, 16, Gelu::tanh, {.bias = true}),
    matmul_gelu(33, 96, 384, Gelu::tanh, {.bias = true, .scale = 0.5}),
    matmul_gelu(5, 16, 24, Gelu::tanh, {.bias = true, .margin = 8}),
    matmul_gelu(65, 64, 64, Gelu::tanh, {.scale = -2}),
    matmul_gelu(7, 96, 33, Gelu::tanh, {.bias = true}),  // what cuBLASLt's epilogue does not take:
    matmul_gelu(9, 32, 40, Gelu::tanh, {.bias = true, .margin = 3}),
    matmul_gelu(33, 96, 384, Gelu::erf, {.bias = true})};
INSTANTIATE_TEST_SUITE_P(MatmulGelu, OpParity, ::testing::ValuesIn(kGelu), case_name);
INSTANTIATE_TEST_SUITE_P(MatmulGelu, OpThreads, ::testing::ValuesIn(kGelu), case_name);

// The residual stream is its own addend.
OpCase in_place_add(int64_t N, int64_t in, int64_t out) {
  OpCase c;
  c.name = fmt::format("add_in_place_{}x{}x{}", N, in, out);
  c.forward = [=](Backend& backend, Tensors& t) {
    const View y = t.random("y", N, out);
    backend.matmul({.x = t.random("x", N, in),
                    .w = backend.prepare(t.random("w", out, in)),
                    .bias = t.random("bias", 1, out),
                    .add = y,
                    .y = y,
                    .scale = 0.5});
  };
  c.bound = fp32_bound(in);
  return c;
}
const std::vector<OpCase> kInPlace = {in_place_add(1, 8, 8), in_place_add(33, 96, 384)};
INSTANTIATE_TEST_SUITE_P(MatmulInPlace, OpParity, ::testing::ValuesIn(kInPlace), case_name);
INSTANTIATE_TEST_SUITE_P(MatmulInPlace, OpThreads, ::testing::ValuesIn(kInPlace), case_name);

TEST(Matmul, ByHand) {
  Tensors t(DType::f64);
  const View x = t.output("x", 1, 2), w = t.output("w", 2, 2), bias = t.output("bias", 1, 2);
  const double xs[] = {2, 3}, ws[] = {1, 10, 100, 1000}, biases[] = {7, 8};
  for (int i = 0; i < 2; ++i) {
    set_value(x, 0, i, xs[i]);
    set_value(bias, 0, i, biases[i]);
    for (int j = 0; j < 2; ++j) set_value(w, i, j, ws[2 * i + j]);
  }
  const auto backend = make_reference_backend(DType::f64);
  backend->matmul({.x = x,
                   .w = backend->prepare(w),
                   .bias = bias,
                   .add = t.constant("add", 1, 2, 1),
                   .y = t.output("y", 1, 2),
                   .scale = 2});
  EXPECT_DOUBLE_EQ(value_at(t["y"], 0, 0), 1 + 2 * (2 + 30 + 7));
  EXPECT_DOUBLE_EQ(value_at(t["y"], 0, 1), 1 + 2 * (200 + 3000 + 8));
}

}  // namespace
}  // namespace isoflop::test
