#include "cpu/gemm_bf16.hpp"

#include "cpu/gemm_bf16_amx.hpp"
#include "tests/cpu/software_tiles.hpp"
#include "tests/support/compare.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace isoflop::test {
namespace {

using namespace cpu;

constexpr int64_t kMargin = 3;  // NaN beyond the end of each row, which nobody may read

Tensor matrix(int64_t rows, int64_t cols, DType dtype = DType::bf16) {
  Tensor t(dtype, rows, cols + kMargin);
  poison(t);
  return t;
}

/// Small whole numbers: every product and sum is exact, so the result has one right value.
Tensor whole_numbers(int64_t rows, int64_t cols, uint64_t seed, DType dtype = DType::bf16) {
  Tensor t = matrix(rows, cols, dtype);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      const double u =
          uniform01(seed, rng_stream(RngUse::probe, 0), static_cast<uint64_t>(r * cols + c));
      set_value(t, r, c, std::floor(u * 17) - 8);
    }
  return t;
}

/// (m, n) of sums over k of left(row, i) * right(i, column).
template <class Left, class Right>
Tensor product(int64_t m, int64_t n, int64_t k, Left&& left, Right&& right) {
  Tensor sums(DType::f32, m, n);
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i) sum += left(r, i) * right(i, c);
      set_value(sums, r, c, sum);
    }
  return sums;
}

std::vector<bf16> packed(View source) {
  std::vector<bf16> panels(static_cast<size_t>(packed_size(source.rows, source.cols)));
  const int64_t middle = source.rows / 4 * 2;  // in two pieces, as threads do it
  pack_rows({source, 0, middle, panels.data()});
  pack_rows({source, middle, source.rows, panels.data()});
  return panels;
}

std::vector<bf16> packed_transpose(View source) {
  std::vector<bf16> panels(static_cast<size_t>(packed_size(source.cols, source.rows)));
  for (int64_t p = 0; p < div_ceil(source.rows, kPanel); ++p)
    pack_columns(source, p, panels.data());
  return panels;
}

/// A kernel of the backend, or AMX's driver on tiles made in software.
struct Multiplier {
  std::string name;
  bool runs_here;
  std::function<void(const GemmBf16&)> multiply;
};
void PrintTo(const Multiplier& m, std::ostream* out) {
  *out << m.name;
}

std::vector<Multiplier> multipliers() {
  std::vector<Multiplier> list = {
      {"software_tiles", true, [](const GemmBf16& g) { AmxProduct<SoftwareTiles>(g).run(); }}};
  for (const Bf16Kernel kernel : kBf16Kernels) {
    std::string name(cpu::name_of(kernel));
    std::replace(name.begin(), name.end(), '-', '_');
    list.push_back({name, runs_here(kernel), [=](const GemmBf16& g) { gemm_bf16(g, kernel); }});
  }
  return list;
}

class GemmBf16On : public ::testing::TestWithParam<Multiplier> {
 protected:
  void SetUp() override {
    if (!GetParam().runs_here) GTEST_SKIP() << "this processor has no " << GetParam().name;
  }
  void multiply(const GemmBf16& product) const { GetParam().multiply(product); }
};

constexpr int64_t kSizes[] = {1, 7, 17, 63, 65, 255, 257};

TEST_P(GemmBf16On, IsExactOnWholeNumbersOfEveryOddShape) {
  for (const int64_t k : {int64_t{1}, int64_t{7}, int64_t{64}, int64_t{257}, int64_t{1001}}) {
    if (k > 257 && GetParam().name == "software_tiles") continue;  // slow; others are as long
    for (const int64_t m : kSizes)
      for (const int64_t n : kSizes) {
        const Tensor a = whole_numbers(m, k, 1), b = whole_numbers(k, n, 2);
        Tensor want(DType::f32, m, n), got = matrix(m, n, DType::f32), twice(DType::f32, m, n);
        for (int64_t r = 0; r < m; ++r) {
          float* row = want.view().row<float>(r);
          std::fill_n(row, n, 0.0f);
          for (int64_t i = 0; i < k; ++i) {
            const float x = to_float(a.view().row<bf16>(r)[i]);
            const bf16* weights = b.view().row<bf16>(i);
            for (int64_t c = 0; c < n; ++c) row[c] += x * to_float(weights[c]);
          }
        }
        const std::vector<bf16> panels = packed(b.view().columns(0, n));
        GemmBf16 product{.m = m,
                         .n = n,
                         .k = k,
                         .a = a.view().as<bf16>(),
                         .lda = a.view().stride,
                         .b = panels.data(),
                         .c = got.view().as<float>(),
                         .ldc = got.view().stride};
        multiply(product);
        const std::string shape = fmt::format("{} x {} x {}", m, n, k);
        ASSERT_TRUE(same_bits(got.view().columns(0, n), want)) << shape;
        ASSERT_TRUE(std::isnan(value_at(got, 0, n))) << shape << ": wrote beyond the row";
        product.accumulate = true;
        multiply(product);
        for (int64_t r = 0; r < m; ++r)
          for (int64_t c = 0; c < n; ++c) set_value(twice, r, c, 2 * value_at(want, r, c));
        ASSERT_TRUE(same_bits(got.view().columns(0, n), twice)) << shape << ", accumulated";
      }
  }
}

TEST_P(GemmBf16On, TakesEitherOperandTransposed) {
  for (const int64_t k : {int64_t{1}, int64_t{65}, int64_t{770}})
    for (const int64_t m : {int64_t{1}, int64_t{49}, int64_t{130}})
      for (const int64_t n : {int64_t{17}, int64_t{97}}) {
        const Tensor a = whole_numbers(k, m, 1), b = whole_numbers(n, k, 2, DType::f32);
        const Tensor want = product(
            m, n, k, [&](int64_t r, int64_t i) { return value_at(a, i, r); },
            [&](int64_t i, int64_t c) { return value_at(b, c, i); });
        Tensor got(DType::f32, m, n);
        const std::vector<bf16> right = packed_transpose(b.view().columns(0, k));
        multiply({.m = m,
                  .n = n,
                  .k = k,
                  .a = a.view().as<bf16>(),
                  .lda = a.view().stride,
                  .transposed_a = true,
                  .b = right.data(),
                  .c = got.view().as<float>(),
                  .ldc = n});
        ASSERT_TRUE(same_bits(got, want)) << m << " x " << n << " x " << k;
      }
}

// Rows whole pages apart are gathered first by kernels that otherwise read them where they lie.
TEST_P(GemmBf16On, IsExactWhereRowsLiePagesApart) {
  constexpr int64_t m = 70, n = 33, k = 128, kPage = 4096 / sizeof(bf16);
  for (const int64_t stride : {kPage, kPage + 64}) {
    const Tensor a = whole_numbers(m, stride - kMargin, 1), b = whole_numbers(k, n, 2);
    ASSERT_EQ(a.view().stride, stride);
    const Tensor want = product(
        m, n, k, [&](int64_t r, int64_t i) { return value_at(a, r, i); },
        [&](int64_t i, int64_t c) { return value_at(b, i, c); });
    Tensor got(DType::f32, m, n);
    const std::vector<bf16> panels = packed(b.view().columns(0, n));
    multiply({.m = m,
              .n = n,
              .k = k,
              .a = a.view().as<bf16>(),
              .lda = stride,
              .b = panels.data(),
              .c = got.view().as<float>(),
              .ldc = n});
    ASSERT_TRUE(same_bits(got, want)) << stride;
  }
}

TEST_P(GemmBf16On, RoundsAsFp32DoesAndKeepsNan) {
  constexpr int64_t m = 19, n = 70, k = 1501;
  Tensor a(DType::bf16, m, k), b(DType::bf16, k, n), got(DType::f32, m, n);
  fill_normal(a, 1);
  fill_normal(b, 2);
  a.view().row<bf16>(4)[k - 1] = to_bf16(NAN);
  const std::vector<bf16> panels = packed(b);
  multiply({.m = m,
            .n = n,
            .k = k,
            .a = a.view().as<bf16>(),
            .lda = k,
            .b = panels.data(),
            .c = got.view().as<float>(),
            .ldc = n});
  for (int64_t r = 0; r < m; ++r)
    for (int64_t c = 0; c < n; ++c) {
      double sum = 0, size = 0;
      for (int64_t i = 0; i < k; ++i) {
        const double product = value_at(a, r, i) * value_at(b, i, c);
        sum += product;
        size += std::abs(product);
      }
      if (r == 4) {
        EXPECT_TRUE(std::isnan(value_at(got, r, c)));
        continue;
      }
      // One rounding of 2^-24 per term, of partial sums whose size grows like sqrt(k), not k.
      EXPECT_NEAR(value_at(got, r, c), sum, 0x1p-24 * std::sqrt(k) * size) << r << ", " << c;
    }
}

INSTANTIATE_TEST_SUITE_P(Kernels,
                         GemmBf16On,
                         ::testing::ValuesIn(multipliers()),
                         [](const auto& param) { return param.param.name; });

TEST(GemmBf16, KernelsHaveNamesAndTheFirstRunsHere) {
  EXPECT_TRUE(runs_here(Bf16Kernel::portable));
  EXPECT_TRUE(runs_here(first_bf16_kernel()));
  for (const Bf16Kernel kernel : kBf16Kernels)
    EXPECT_EQ(bf16_kernel_named(cpu::name_of(kernel)), kernel);
  EXPECT_EQ(bf16_kernel_named("sse"), std::nullopt);
}

TEST(GemmBf16, ATileOfATransposedMatrixIsItsTranspose) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bw")) GTEST_SKIP() << "this processor has no AVX-512";
#endif
  constexpr int64_t kStep = 37;
  std::vector<bf16> from(static_cast<size_t>(2 * kTilePairs * kStep)), tile(kTileElements);
  for (size_t i = 0; i < from.size(); ++i) from[i].bits = static_cast<uint16_t>(i);
  transpose_tile(from.data() + 3, kStep, tile.data());
  for (int64_t r = 0; r < kTileRows; ++r)
    for (int64_t i = 0; i < 2 * kTilePairs; ++i)
      ASSERT_EQ(tile[static_cast<size_t>(r * 2 * kTilePairs + i)].bits, i * kStep + 3 + r);
}

TEST(PackBf16, RoundsEveryPatternAsCoreDoes) {
  constexpr int64_t n = 1 << 16;
  Tensor source(DType::f32, 2, n);
  for (const uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
    for (int64_t c = 0; c < n; ++c)
      for (int64_t r = 0; r < 2; ++r)
        source.view().row<float>(r)[c] =
            std::bit_cast<float>(static_cast<uint32_t>(r ? n - 1 - c : c) << 16 | low);
    const std::vector<bf16> rows = packed(source);
    const std::vector<bf16> columns = packed_transpose(source);
    for (int64_t c = 0; c < n; ++c)
      for (int64_t r = 0; r < 2; ++r) {
        const uint16_t want = to_bf16(source.view().row<float>(r)[c]).bits;
        const int64_t row_at = c / kPanel * panel_stride(2) + c % kPanel * 2 + r;
        const int64_t column_at = c / 2 * 2 * kPanel + 2 * r + c % 2;
        ASSERT_EQ(rows[static_cast<size_t>(row_at)].bits, want) << c << ", " << low;
        ASSERT_EQ(columns[static_cast<size_t>(column_at)].bits, want) << c << ", " << low;
      }
  }
}

}  // namespace
}  // namespace isoflop::test
