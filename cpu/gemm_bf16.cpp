#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_bf16.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/gemm_bf16.hpp"
#include "cpu/gemm_bf16_amx.hpp"
#include "cpu/simd-inl.h"
#include "hwy/cache_control.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// kVectors vectors of columns of the block, for kRows of its rows from `row` on.
template <int kRows, int kVectors, class D>
HWY_INLINE void multiply_columns(D d, const Bf16Block& block, int64_t row, int64_t column) {
  const hn::RebindToUnsigned<D> whole;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  const bf16* a = block.a + row * block.row_step;
  float* c = block.c + row * block.ldc + column;
  const bf16* pairs_at[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = column + v * step;
    pairs_at[v] = block.panel + at / kPanel * block.panel_step + at % kPanel * 2;
  }
  hn::Vec<D> sum[kRows][kVectors], low[kVectors], high[kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = block.accumulate ? hn::LoadU(d, c + r * block.ldc + v * step) : hn::Zero(d);
  for (int64_t p = 0; p < block.pairs + block.odd; ++p) {
    for (int v = 0; v < kVectors; ++v) {
      const auto pairs = hn::LoadU(whole, reinterpret_cast<const uint32_t*>(pairs_at[v]));
      pairs_at[v] += 2 * kPanel;
      low[v] = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
      high[v] = hn::BitCast(d, hn::And(pairs, hn::Set(whole, 0xffff0000u)));
    }
    for (int r = 0; r < kRows; ++r) {
      const bf16* at = a + r * block.row_step + p * block.pair_step;
      const auto first = hn::Set(d, to_float(at[0]));
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(low[v], first, sum[r][v]);
      if (p == block.pairs) continue;  // half a pair
      const auto second = hn::Set(d, to_float(at[1]));
      for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::MulAdd(high[v], second, sum[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[r][v], d, c + r * block.ldc + v * step);
}

template <int kRows>
HWY_INLINE void multiply_rows(const Bf16Block& block, int64_t row) {
  const int64_t step = lanes();
  int64_t c = 0;
  for (; c + 2 * step <= block.cols; c += 2 * step)
    multiply_columns<kRows, 2>(Full(), block, row, c);
  for (; c + step <= block.cols; c += step) multiply_columns<kRows, 1>(Full(), block, row, c);
  for (; c < block.cols; ++c) multiply_columns<kRows, 1>(One(), block, row, c);
}

void multiply_block(const Bf16Block& block) {
  int64_t row = 0;
  for (; row + 4 <= block.rows; row += 4) multiply_rows<4>(block, row);
  for (; row < block.rows; ++row) multiply_rows<1>(block, row);
}

/// The bf16 of each element, in the lower half of a lane.
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> bits_of(D d, const float* from) {
  return hn::ShiftRight<16>(round_to_bf16(d, hn::LoadU(d, from)));
}
template <class D>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> bits_of(D, const bf16* from) {
  const hn::Rebind<uint16_t, D> half;
  return hn::PromoteTo(hn::RebindToUnsigned<D>(),
                       hn::LoadU(half, reinterpret_cast<const uint16_t*>(from)));
}

/// count pairs: to[2 i] = first[i], to[2 i + 1] = second[i], or zero where there is no second.
template <class T>
HWY_INLINE void interleave(const T* first, const T* second, int64_t count, bf16* to) {
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    auto pair = bits_of(d, first + i);
    if (second) pair = hn::Or(pair, hn::ShiftLeft<16>(bits_of(d, second + i)));
    hn::StoreU(pair, hn::RebindToUnsigned<decltype(d)>(), reinterpret_cast<uint32_t*>(to + 2 * i));
  });
}

/// A few rows at a time, panel by panel: panels are often a multiple of the page apart, so to write
/// all of them in turn would evict each from the cache before its next pair comes. What comes next
/// is fetched ahead, since it lies in short pieces.
void pack_row_pairs(const PackRows& job) {
  constexpr int64_t kTogether = 32;
  by_type(job.source.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    const View source = job.source;
    const int64_t stride = panel_stride(source.rows);
    for (int64_t first = job.first; first < job.last; first += kTogether) {
      const int64_t last = std::min(first + kTogether, job.last);
      const int64_t ahead = last < job.last ? kTogether * source.stride : 0;
      for (int64_t column = 0; column < source.cols; column += kPanel) {
        const int64_t count = std::min(kPanel, source.cols - column);
        bf16* to = job.panels + column / kPanel * stride + first * kPanel;
        for (int64_t k = first; k < last; k += 2, to += 2 * kPanel) {
          const T* row = source.row<T>(k) + column;
          const T* next = k + 1 < source.rows ? row + source.stride : nullptr;
          if (ahead) hwy::Prefetch(row + ahead), hwy::Prefetch(row + ahead + source.stride);
          interleave(row, next, count, to);
          if (count < kPanel) std::fill_n(to + 2 * count, 2 * (kPanel - count), bf16());
        }
      }
    }
  });
}

/// `count` <= 4 columns, each contiguous, as rows of pairs of a panel.
void stack_columns(const bf16* const* columns, int64_t count, int64_t pairs, bf16* to) {
  int64_t p = 0;
#if HWY_TARGET != HWY_SCALAR  // which has no vectors of four
  const hn::FixedTag<uint32_t, 4> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  for (; count == 4 && p + 4 <= pairs; p += 4) {
    const auto pairs_of = [&](int64_t c) HWY_ATTR {
      return hn::LoadU(d, reinterpret_cast<const uint32_t*>(columns[c] + 2 * p));
    };
    const auto store_rows = [&](auto left, auto right, int64_t row) HWY_ATTR {
      const auto a = hn::BitCast(wide, left), b = hn::BitCast(wide, right);
      auto* at = reinterpret_cast<uint32_t*>(to + (p + row) * 2 * kPanel);
      hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, a, b)), d, at);
      hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, a, b)), d, at + kPanel);
    };
    const auto a = pairs_of(0), b = pairs_of(1), c = pairs_of(2), e = pairs_of(3);
    store_rows(hn::InterleaveLower(d, a, b), hn::InterleaveLower(d, c, e), 0);
    store_rows(hn::InterleaveUpper(d, a, b), hn::InterleaveUpper(d, c, e), 2);
  }
#endif
  for (; p < pairs; ++p)
    for (int64_t c = 0; c < count; ++c)
      std::memcpy(to + p * 2 * kPanel + 2 * c, columns[c] + 2 * p, 4);
}

void to_bf16_row(const float* from, int64_t count, bf16* to) {
  for_each(count, [&](auto d, int64_t i) HWY_ATTR { store(load(d, from + i), d, to + i); });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(multiply_block);
HWY_EXPORT(pack_row_pairs);
HWY_EXPORT(stack_columns);
HWY_EXPORT(to_bf16_row);

void pack_rows(const PackRows& job) {
  HWY_DYNAMIC_DISPATCH(pack_row_pairs)(job);
}

void pack_columns(View source, int64_t panel, bf16* panels) {
  constexpr int64_t kInner = 128, kTogether = 4;  // what is converted of columns side by side
  const auto convert = HWY_DYNAMIC_DISPATCH(to_bf16_row);
  const auto stack = HWY_DYNAMIC_DISPATCH(stack_columns);
  const int64_t first = panel * kPanel, count = std::min(kPanel, source.rows - first);
  const int64_t inner = source.cols;
  bf16* to = panels + panel * panel_stride(inner);
  bf16 converted[kTogether][kInner];
  if (count < kPanel) std::fill_n(to, panel_stride(inner), bf16());
  for (int64_t k = 0; k < inner; k += kInner) {
    const int64_t width = std::min(kInner, inner - k);
    for (int64_t column = 0; column < count; column += kTogether) {
      const int64_t together = std::min(kTogether, count - column);
      const bf16* columns[kTogether];
      for (int64_t c = 0; c < together; ++c) {
        columns[c] = converted[c];
        if (source.dtype == DType::f32)
          convert(source.row<float>(first + column + c) + k, width, converted[c]);
        else
          columns[c] = source.row<bf16>(first + column + c) + k;
      }
      bf16* pairs = to + k * kPanel + 2 * column;
      stack(columns, together, width / 2, pairs);
      if (width % 2 == 0) continue;
      pairs += width / 2 * 2 * kPanel;
      for (int64_t c = 0; c < together; ++c, pairs += 2)
        pairs[0] = columns[c][width - 1], pairs[1] = bf16();
    }
  }
}

bool runs_here(Bf16Kernel kernel) {
  if (kernel == Bf16Kernel::amx) return amx_state() == Amx::granted;
#if defined(__x86_64__)
  if (kernel == Bf16Kernel::avx512_bf16)
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq");
#endif
  return kernel == Bf16Kernel::portable;
}

Bf16Kernel first_bf16_kernel() {
  return *std::find_if(std::begin(kBf16Kernels), std::end(kBf16Kernels), runs_here);
}

std::string_view name_of(Bf16Kernel kernel) {
  switch (kernel) {
    case Bf16Kernel::amx:
      return "amx";
    case Bf16Kernel::avx512_bf16:
      return "avx512-bf16";
    case Bf16Kernel::portable:
      break;
  }
  return "portable";
}

std::optional<Bf16Kernel> bf16_kernel_named(std::string_view name) {
  for (const Bf16Kernel kernel : kBf16Kernels)
    if (name_of(kernel) == name) return kernel;
  return std::nullopt;
}

/// Rows [first, first + rows) of A over [k, k + inner), as columns of what lies there.
static View transposed_block(
    const GemmBf16& g, int64_t k, int64_t inner, int64_t first, int64_t rows) {
  return {const_cast<bf16*>(g.a) + k * g.lda + first, DType::bf16, inner, rows, g.lda};
}

/// Rows that come from memory and lie apart, which the processor does not foresee.
static void fetch_rows(const bf16* a, int64_t stride, int64_t rows, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(bf16);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < count; i += kLine) hwy::Prefetch(a + r * stride + i);
}

void gemm_bf16(const GemmBf16& g, Bf16Kernel kernel) {
  if (kernel == Bf16Kernel::amx) return gemm_bf16_amx(g);
  // A block of three panels streams from the second-level cache while eight rows of A stay in the
  // first; measured on Zen 4, 384 reaches the peak of the instruction and 192 some 95 % of it.
  constexpr int64_t kInner = 512;
  const auto multiply = kernel == Bf16Kernel::avx512_bf16 ? multiply_block_avx512_bf16
                                                          : HWY_DYNAMIC_DISPATCH(multiply_block);
  const int64_t b_stride = panel_stride(g.b_inner ? g.b_inner : g.k);
  constexpr int64_t kLeftRows = 8 * kPanel;                       // of a tile
  alignas(64) std::byte room[kInner * kLeftRows * sizeof(bf16)];  // a bf16[] would be zeroed
  bf16* left = reinterpret_cast<bf16*>(room);                     // panels of A^T
  const int64_t rows_at_once = g.transposed_a ? kLeftRows : std::max<int64_t>(g.m, 1);
  for (int64_t k = 0; k < std::max<int64_t>(g.k, 1); k += kInner) {
    const int64_t inner = std::min(kInner, g.k - k);
    for (int64_t first = 0; first < g.m; first += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, g.m - first);
      const auto row_at = [&](int64_t row) {
        return g.transposed_a ? left + row / kPanel * panel_stride(inner) + row % kPanel * 2
                              : g.a + (first + row) * g.lda + k;
      };
      if (g.transposed_a) pack_rows({transposed_block(g, k, inner, first, rows), 0, inner, left});
      // Three panels at a time, but four (a head of 64) as two and two: a single one does not keep
      // enough sums going.
      for (int64_t column = 0, cols; column < g.n; column += cols) {
        cols = g.n - column > 3 * kPanel && g.n - column <= 4 * kPanel
                   ? 2 * kPanel
                   : std::min(kBlockCols, g.n - column);
        for (int64_t row = 0; row < rows; row += kBlockRows) {
          if (const int64_t next = row + kBlockRows; column == 0 && !g.transposed_a && next < rows)
            fetch_rows(row_at(next), g.lda, std::min(kBlockRows, rows - next), inner);
          multiply({.rows = std::min(kBlockRows, rows - row),
                    .cols = cols,
                    .pairs = inner / 2,
                    .odd = inner % 2 != 0,
                    .a = row_at(row),
                    .row_step = g.transposed_a ? 2 : g.lda,
                    .pair_step = g.transposed_a ? 2 * kPanel : 2,
                    .panel = g.b + column / kPanel * b_stride + k * kPanel,
                    .panel_step = b_stride,
                    .c = g.c + (first + row) * g.ldc + column,
                    .ldc = g.ldc,
                    .accumulate = g.accumulate || k > 0});
        }
      }
    }
  }
}

}  // namespace isoflop::cpu
#endif
