#include "ops/reference/activation.hpp"

#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>

namespace isoflop::test {
namespace {

// Near 4 the derivative's 1 - tanh^2 cancels while the factor beside it is about 5.
double gelu_bound() {
  return fp32_bound(16) * 5;
}

// Spread 3 reaches both flat ends.
OpCase gelu(int64_t N, int64_t F, Gelu kind) {
  OpCase c;
  c.name = fmt::format("gelu_{}_{}x{}", kind == Gelu::erf ? "erf" : "tanh", N, F);
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.gelu_forward({.x = t.random("x", N, F, 3), .y = t.output("y", N, F), .kind = kind});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    backend.gelu_backward(
        {.dy = t.random("dy", N, F), .x = t["x"], .dx = t.output("dx", N, F), .kind = kind});
  };
  c.inputs = {"x"};
  c.outputs = {"y"};
  c.bound = gelu_bound();
  return c;
}

// y may be x, and dx may be dy; here both lie in wider rows as well.
OpCase gelu_in_place(int64_t N, int64_t F, Gelu kind) {
  OpCase c;
  c.name = fmt::format("gelu_in_place_{}_{}x{}", kind == Gelu::erf ? "erf" : "tanh", N, F);
  c.forward = [=](Backend& backend, Tensors& t) {
    const View y = t.output("y", N, F + 3), x = t.random("x", N, F + 3, 3);
    backend.copy(x, y);
    backend.gelu_forward({.x = y.columns(1, F), .y = y.columns(1, F), .kind = kind});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    const View dx = t.random("dx", N, F + 3).columns(1, F);
    backend.gelu_backward({.dy = dx, .x = t["x"].columns(1, F), .dx = dx, .kind = kind});
  };
  c.bound = gelu_bound();
  return c;
}

OpCase swiglu(int64_t N, int64_t F) {
  OpCase c;
  c.name = fmt::format("swiglu_{}x{}", N, F);
  c.forward = [=](Backend& backend, Tensors& t) {
    const View both = t.random("gate_up", N, 2 * F, 3);  // as one product writes them
    backend.swiglu_forward(
        {.gate = both.columns(0, F), .up = both.columns(F, F), .y = t.output("y", N, F)});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    const View both = t["gate_up"], dboth = t.output("dgate_up", N, 2 * F);
    backend.swiglu_backward({.dy = t.random("dy", N, F),
                             .gate = both.columns(0, F),
                             .up = both.columns(F, F),
                             .dgate = dboth.columns(0, F),
                             .dup = dboth.columns(F, F)});
  };
  c.inputs = {"gate_up"};
  c.outputs = {"y"};
  c.bound = fp32_bound(16);
  return c;
}

const std::vector<OpCase> kSmall = {gelu(3, 9, Gelu::tanh), gelu(3, 9, Gelu::erf), swiglu(3, 7)};
const std::vector<OpCase> kAll = {gelu(1, 8, Gelu::tanh),
                                  gelu(7, 96, Gelu::tanh),
                                  gelu(33, 2053, Gelu::tanh),
                                  gelu(1, 8, Gelu::erf),
                                  gelu(7, 96, Gelu::erf),
                                  gelu(33, 2053, Gelu::erf),
                                  gelu_in_place(7, 96, Gelu::tanh),
                                  gelu_in_place(33, 385, Gelu::erf),
                                  swiglu(1, 8),
                                  swiglu(7, 96),
                                  swiglu(33, 2053)};

INSTANTIATE_TEST_SUITE_P(Activation, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(Activation, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Activation, OpThreads, ::testing::ValuesIn(kAll), case_name);

TEST(Gelu, KnownValues) {
  // x Phi(x) with Phi(1) = 0.841344746068543 from tables; the tanh form differs in the fourth
  // digit.
  EXPECT_NEAR(reference::gelu(1.0, Gelu::erf), 0.841344746068543, 1e-15);
  EXPECT_NEAR(reference::gelu(-1.0, Gelu::erf), -1 + 0.841344746068543, 1e-15);
  EXPECT_NEAR(reference::gelu(1.0, Gelu::tanh), 0.8411919906082768, 1e-15);
  EXPECT_EQ(reference::gelu(0.0, Gelu::erf), 0);
  EXPECT_EQ(reference::gelu(50.0, Gelu::erf), 50);
  EXPECT_EQ(reference::gelu(50.0, Gelu::tanh), 50);
}

// Complex Phi is built from its own derivative, so the complex step alone would prove nothing about
// the erf form: here it meets a central difference in long double.
TEST(Gelu, ErfDerivativeIsCentralDifference) {
  const auto exact = [](long double x) { return x * 0.5L * erfcl(-x / sqrtl(2.0L)); };
  constexpr long double h = 1e-6L;  // error h^2 / 6 times a third derivative of order 1
  for (double x = -9; x <= 9; x += 0.37) {
    const long double want = (exact(x + h) - exact(x - h)) / (2 * h);
    const double got = reference::gelu_derivative(x, Gelu::erf);
    EXPECT_NEAR(got, static_cast<double>(want), 1e-12) << x;
    const double imaginary = reference::gelu(std::complex<double>(x, 1e-100), Gelu::erf).imag();
    EXPECT_NEAR(imaginary * 1e100, got, 1e-14) << x;
  }
}

TEST(Swiglu, ByHand) {
  Tensors t(DType::f64);
  make_reference_backend(DType::f64)
      ->swiglu_forward({.gate = t.constant("gate", 1, 1, std::log(3.0)),
                        .up = t.constant("up", 1, 1, 4),
                        .y = t.output("y", 1, 1)});
  EXPECT_NEAR(value_at(t["y"], 0, 0), 3 * std::log(3.0), 1e-15);  // sigmoid(log 3) = 3/4
}

}  // namespace
}  // namespace isoflop::test
