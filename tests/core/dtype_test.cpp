#include "core/dtype.hpp"

#include "core/rng.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace isoflop {
namespace {

// A 16-bit float format by its two field widths, read by the book and rounded by search:
// independent of the bit tricks under test.
struct Format {
  int exponent_bits, mantissa_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint16_t infinity() const {
    return static_cast<uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
  }
  // The infinity pattern reads as the next power of two, where rounding begins to overflow to it.
  double value(uint16_t magnitude) const {
    const int exponent = magnitude >> mantissa_bits;
    const int mantissa = magnitude & ((1 << mantissa_bits) - 1);
    const int one = exponent ? 1 << mantissa_bits : 0;
    return std::ldexp(one + mantissa, std::max(exponent, 1) - bias() - mantissa_bits);
  }
  uint16_t round(float x) const {
    static thread_local std::vector<double> table;
    static thread_local int table_of = 0;
    if (table_of != exponent_bits) {
      table.clear();
      for (int i = 0; i <= infinity(); ++i) table.push_back(value(static_cast<uint16_t>(i)));
      table_of = exponent_bits;
    }
    const double target = std::abs(static_cast<double>(x));
    const auto above = std::upper_bound(table.begin(), table.end(), target);
    const int high = static_cast<int>(above - table.begin()), low = high - 1;
    int nearest = low;
    if (high < static_cast<int>(table.size())) {
      const double to_low = target - table[static_cast<size_t>(low)];
      const double to_high = table[static_cast<size_t>(high)] - target;
      if (to_high < to_low || (to_high == to_low && low % 2 != 0)) nearest = high;
    }
    return static_cast<uint16_t>(nearest | (std::signbit(x) ? 0x8000 : 0));
  }
};

constexpr Format kBf16{8, 7};
constexpr Format kF16{5, 10};

float from_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}

// Floats where rounding decides: each representable value, the midpoint above it, and their
// neighbours.
template <class Visit>
void around_every_decision(const Format& format, Visit visit) {
  for (int i = 0; i < format.infinity(); ++i) {
    const double low = format.value(static_cast<uint16_t>(i));
    const double high = format.value(static_cast<uint16_t>(i + 1));
    for (const double exact : {low, low + (high - low) / 2}) {
      const float x = static_cast<float>(exact);
      for (const float y : {x, std::nextafter(x, 0.0f), std::nextafter(x, INFINITY)}) {
        visit(y);
        visit(-y);
      }
    }
  }
  for (uint64_t i = 0; i < 200'000; ++i) {
    const float x = from_bits(philox(1, 0, i)[0]);
    if (std::isfinite(x)) visit(x);
  }
}

template <class Convert>
void expect_rounds(const Format& format, Convert convert) {
  int wrong = 0;
  around_every_decision(format, [&](float x) {
    if (convert(x) == format.round(x)) return;
    if (++wrong < 5)
      ADD_FAILURE() << x << " became " << convert(x) << ", must be " << format.round(x);
  });
  EXPECT_EQ(wrong, 0);
}

TEST(Bf16, RoundsToNearestEven) {
  expect_rounds(kBf16, [](float x) { return to_bf16(x).bits; });
}

TEST(F16, RoundsToNearestEven) {
  expect_rounds(kF16, [](float x) { return to_f16(x).bits; });
}

template <class Half, class Convert>
void expect_round_trip(const Format& format, Convert convert) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const Half half{static_cast<uint16_t>(i)};
    const uint16_t magnitude = static_cast<uint16_t>(i & 0x7fff);
    const float x = to_float(half);
    EXPECT_EQ(std::signbit(x), i >= 0x8000) << i;
    if (magnitude > format.infinity()) {
      EXPECT_TRUE(std::isnan(x)) << i;
      const uint32_t quiet = 1u << (format.mantissa_bits - 1);
      EXPECT_EQ(convert(x).bits, i | quiet) << "NaN keeps sign and payload and turns quiet";
      continue;
    }
    if (magnitude == format.infinity())
      EXPECT_TRUE(std::isinf(x)) << i;
    else
      EXPECT_EQ(std::abs(static_cast<double>(x)), format.value(magnitude)) << i;
    EXPECT_EQ(convert(x).bits, i);
  }
}

TEST(Bf16, EveryPatternSurvives) {
  expect_round_trip<bf16>(kBf16, to_bf16);
}
TEST(F16, EveryPatternSurvives) {
  expect_round_trip<f16>(kF16, to_f16);
}

TEST(Bf16, LimitsAndNaN) {
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::max()).bits, kBf16.infinity());
  EXPECT_EQ(to_bf16(-INFINITY).bits, 0x8000 | kBf16.infinity());
  EXPECT_EQ(to_bf16(from_bits(0x7f800001)).bits, 0x7fc0) << "a NaN in low bits must not become inf";
  EXPECT_EQ(to_bf16(from_bits(0xffffffff)).bits, 0xffff);
  EXPECT_EQ(to_bf16(std::numeric_limits<float>::denorm_min()).bits, 0);
}

TEST(Bf16, AtRandomTheMeanIsTheValue) {
  for (const float x :
       {1.0f, 1.001f, -3.14159f, 0x1.fffffep0f, 1e-39f, -0x1.01p-126f, 3e38f, 0.0f}) {
    double sum = 0;
    std::set<uint16_t> seen;
    for (uint32_t random = 0; random < 0x10000; ++random) {
      const bf16 rounded = to_bf16_at_random(x, random);
      sum += double{to_float(rounded)};
      seen.insert(rounded.bits);
    }
    EXPECT_EQ(sum / 0x10000, double{x});  // a sum of 2^16 numbers of 8 bits is exact
    EXPECT_LE(seen.size(), 2u) << x;
  }
  EXPECT_EQ(to_bf16_at_random(-INFINITY, 0xffff).bits, 0xff80);
  EXPECT_EQ(to_bf16_at_random(std::numeric_limits<float>::max(), 0xffff).bits, kBf16.infinity());
  EXPECT_EQ(to_bf16_at_random(from_bits(0xffffffff), 0xffff).bits, 0xffff);
}

TEST(F16, LimitsAndNaN) {
  EXPECT_EQ(to_f16(65504.0f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65519.996f).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0f).bits, 0x7c00) << "a tie with infinity";
  EXPECT_EQ(to_f16(-1e30f).bits, 0xfc00);
  EXPECT_EQ(to_f16(INFINITY).bits, 0x7c00);
  EXPECT_EQ(to_f16(from_bits(0x7f800001)).bits, 0x7e00);
  EXPECT_EQ(to_f16(from_bits(0xff800001)).bits, 0xfe00);
  EXPECT_EQ(to_f16(0x1p-24f).bits, 1);
  EXPECT_EQ(to_f16(0x1p-25f).bits, 0) << "a tie goes to even zero";
  EXPECT_EQ(to_f16(std::nextafter(0x1p-25f, 1.0f)).bits, 1);
  EXPECT_EQ(to_f16(-0x1p-25f).bits, 0x8000);
}

#if defined(__FLT16_MANT_DIG__) && defined(__x86_64__)
TEST(F16, AgreesWithTheCompiler) {
  __extension__ typedef _Float16 Half;
  around_every_decision(kF16, [](float x) {
    const Half half = static_cast<Half>(x);
    ASSERT_EQ(to_f16(x).bits, std::bit_cast<uint16_t>(half)) << x;
    ASSERT_EQ(to_float(to_f16(x)), static_cast<float>(half)) << x;
  });
}
#endif

TEST(DType, SizesAndNames) {
  EXPECT_EQ(size_of(dtype_of<float>()), sizeof(float));
  EXPECT_EQ(size_of(dtype_of<bf16>()), sizeof(bf16));
  EXPECT_EQ(size_of(dtype_of<f16>()), sizeof(f16));
  EXPECT_EQ(size_of(dtype_of<double>()), sizeof(double));
  EXPECT_EQ(size_of(dtype_of<std::complex<double>>()), sizeof(std::complex<double>));
  EXPECT_EQ(size_of(dtype_of<int32_t>()), 4u);
  EXPECT_EQ(size_of(dtype_of<uint32_t>()), 4u);
  EXPECT_EQ(size_of(dtype_of<uint16_t>()), 2u);
  EXPECT_EQ(size_of(dtype_of<uint8_t>()), 1u);
  EXPECT_EQ(name_of(DType::bf16), "bf16");
}

}  // namespace
}  // namespace isoflop
