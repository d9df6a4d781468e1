#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>

namespace isoflop::test {
namespace {

struct Shape {
  int64_t B = 1, T = 1, heads = 1, hd = 8, rotary = 8;
  RopePairs pairs = RopePairs::interleaved;
  int64_t first = 0;
};

View angles(Tensors& t, const char* name, const Shape& s, double (*function)(double)) {
  const View table = t.output(name, s.first + s.T + 3, s.rotary / 2);
  for (int64_t p = 0; p < table.rows; ++p)
    for (int64_t j = 0; j < table.cols; ++j) {
      const double exponent = -2.0 * static_cast<double>(j) / static_cast<double>(s.rotary);
      set_value(table, p, j, function(static_cast<double>(p) * std::pow(10000.0, exponent)));
    }
  return table;
}

Rope arguments(Tensors& t, const Shape& s, View x) {
  return {.x = x,
          .cos = angles(t, "cos", s, std::cos),
          .sin = angles(t, "sin", s, std::sin),
          .tokens = s.T,
          .first_position = s.first,
          .head_dim = s.hd,
          .rotary_dim = s.rotary,
          .pairs = s.pairs};
}

// Rotates columns 3 .. of wider rows, as queries lie in a packed buffer.
OpCase rope(Shape s) {
  OpCase c;
  c.name = fmt::format("rope_B{}_T{}_H{}_hd{}_rotary{}_{}{}", s.B, s.T, s.heads, s.hd, s.rotary,
                       s.pairs == RopePairs::interleaved ? "interleaved" : "half_split",
                       s.first ? "_later" : "");
  const int64_t N = s.B * s.T, width = s.heads * s.hd;
  c.forward = [=](Backend& backend, Tensors& t) {
    const View y = t.output("y", N, width + 5);
    backend.copy(t.random("x", N, width + 5), y);
    backend.rope(arguments(t, s, y.columns(3, width)));
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    const View dx = t.output("dx", N, width + 5);
    backend.copy(t.random("dy", N, width + 5), dx);
    Rope back = arguments(t, s, dx.columns(3, width));
    back.inverse = true;
    backend.rope(back);
  };
  c.inputs = {"x"};
  c.outputs = {"y"};
  c.bound = fp32_bound(2);
  return c;
}

constexpr RopePairs kSplit = RopePairs::half_split;
const std::vector<OpCase> kSmall = {
    rope({.B = 2, .T = 3, .heads = 2, .hd = 4, .rotary = 4}),
    rope({.B = 1, .T = 3, .heads = 2, .hd = 6, .rotary = 4, .pairs = kSplit, .first = 2})};
const std::vector<OpCase> kAll = {
    rope({.B = 1, .T = 1, .heads = 1, .hd = 8, .rotary = 8}),
    rope({.B = 3, .T = 5, .heads = 4, .hd = 16, .rotary = 16}),
    rope({.B = 2, .T = 64, .heads = 3, .hd = 64, .rotary = 64, .pairs = kSplit}),
    rope({.B = 1, .T = 130, .heads = 2, .hd = 80, .rotary = 20, .pairs = kSplit}),
    rope({.B = 1, .T = 130, .heads = 2, .hd = 32, .rotary = 6}),
    rope({.B = 4, .T = 1, .heads = 8, .hd = 64, .rotary = 64, .first = 77})};

INSTANTIATE_TEST_SUITE_P(Rope, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(Rope, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Rope, OpThreads, ::testing::ValuesIn(kAll), case_name);

// By definition the pair is turned as the complex number u + iv times exp(i angle).
TEST(Rope, TurnsThePairsItNames) {
  for (const RopePairs pairs : {RopePairs::interleaved, kSplit}) {
    const Shape s{.B = 1, .T = 2, .heads = 1, .hd = 6, .rotary = 4, .pairs = pairs};
    Tensors t(DType::f64);
    const View x = t.random("x", 2, 6), y = t.output("y", 2, 6);
    const auto backend = make_reference_backend(DType::f64);
    backend->copy(x, y);
    backend->rope(arguments(t, s, y));
    EXPECT_TRUE(same_bits(y.slice(0, 1), x.slice(0, 1))) << "position 0 does not turn";
    EXPECT_TRUE(same_bits(y.columns(4, 2), x.columns(4, 2))) << "the rest of a head stays";
    for (int64_t j = 0; j < 2; ++j) {
      const int64_t u = pairs == kSplit ? j : 2 * j, v = pairs == kSplit ? j + 2 : 2 * j + 1;
      const std::complex<double> turned =
          std::complex<double>(value_at(x, 1, u), value_at(x, 1, v)) *
          std::polar(1.0, j == 0 ? 1.0 : 0.01);
      EXPECT_NEAR(value_at(y, 1, u), turned.real(), 1e-15);
      EXPECT_NEAR(value_at(y, 1, v), turned.imag(), 1e-15);
    }
  }
}

}  // namespace
}  // namespace isoflop::test
