// The block product with AVX512-BF16. Compiled for that instruction set function by function, and
// called only where the processor has it.
#include "cpu/gemm_bf16.hpp"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>

#define ISOFLOP_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace isoflop::cpu {

namespace {

/// At least one pair. Written so that the sums never leave their registers: a choice before or
/// behind the loop that concerned all of them would have the compiler keep them in memory.
template <int kRows, int kVectors>
ISOFLOP_AVX512_BF16 void multiply(const Bf16Block& block) {
  const auto last = static_cast<__mmask16>((1u << (block.cols - 16 * (kVectors - 1))) - 1);
  const auto mask_of = [last](int v) { return v == kVectors - 1 ? last : __mmask16{0xffff}; };
  const bf16 *a = block.a, *panel = block.panel;
  const int64_t row_step = block.row_step, pair_step = block.pair_step;
  const int64_t panel_step = block.panel_step, ldc = block.ldc;
  float* c = block.c;
  __m512 sum[kRows][kVectors];
  for (auto& row : sum)
    for (__m512& one : row) one = _mm512_setzero_ps();
  int64_t left = block.pairs;
  do {
    __m512bh columns[kVectors];
    for (int v = 0; v < kVectors; ++v)
      columns[v] = (__m512bh)_mm512_loadu_si512(panel + v * panel_step);
    for (int r = 0; r < kRows; ++r) {
      int32_t pair = 0;
      std::memcpy(&pair, a + r * row_step, sizeof pair);
      const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], both, columns[v]);
    }
    a += pair_step;
    panel += 2 * kPanel;
  } while (--left > 0);
  if (block.accumulate) {
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v) {
        float* at = c + r * ldc + 16 * v;
        _mm512_mask_storeu_ps(at, mask_of(v),
                              _mm512_add_ps(sum[r][v], _mm512_maskz_loadu_ps(mask_of(v), at)));
      }
    return;
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      _mm512_mask_storeu_ps(c + r * ldc + 16 * v, mask_of(v), sum[r][v]);
}

template <int kRows>
void multiply_rows(const Bf16Block& block) {
  if (block.cols > 32)
    multiply<kRows, 3>(block);
  else if (block.cols > 16)
    multiply<kRows, 2>(block);
  else
    multiply<kRows, 1>(block);
}

}  // namespace

static void multiply_pairs(Bf16Block block) {
  const auto take = [&](int64_t rows) {
    block.rows -= rows;
    block.a += rows * block.row_step;
    block.c += rows * block.ldc;
  };
  static_assert(kBlockRows == 8);
  if (block.rows == 8) return multiply_rows<8>(block);
  if (block.rows & 4) multiply_rows<4>(block), take(4);
  if (block.rows & 2) multiply_rows<2>(block), take(2);
  if (block.rows & 1) multiply_rows<1>(block);
}

void multiply_block_avx512_bf16(const Bf16Block& block) {
  if (block.pairs > 0) multiply_pairs(block);
  if (block.odd) {  // behind half a pair stands whatever comes next in A, so zeros are put there
    bf16 ends[kBlockRows][2] = {};
    for (int64_t r = 0; r < block.rows; ++r)
      ends[r][0] = block.a[r * block.row_step + block.pairs * block.pair_step];
    Bf16Block end = block;
    end.pairs = 1;
    end.a = ends[0];
    end.row_step = 2;
    end.panel += block.pairs * 2 * kPanel;
    end.accumulate = block.accumulate || block.pairs > 0;
    multiply_pairs(end);
  } else if (block.pairs == 0 && !block.accumulate) {
    for (int64_t r = 0; r < block.rows; ++r) std::fill_n(block.c + r * block.ldc, block.cols, 0.0f);
  }
}

}  // namespace isoflop::cpu

#else

namespace isoflop::cpu {
void multiply_block_avx512_bf16(const Bf16Block&) {
  ISOFLOP_CHECK(false, "AVX512-BF16 on a processor without it");
}
}  // namespace isoflop::cpu

#endif
