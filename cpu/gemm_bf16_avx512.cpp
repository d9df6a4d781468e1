// The block product with AVX512-BF16. Compiled for that instruction set function by function, and
// called only where the processor has it.
#include "cpu/gemm_bf16.hpp"

#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>

#define ISOFLOP_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace isoflop::cpu {

namespace {

/// The pair at `a` in every lane; half a pair has a zero beside it.
ISOFLOP_AVX512_BF16 inline __m512i broadcast(const bf16* a, size_t bytes) {
  int32_t pair = 0;
  std::memcpy(&pair, a, bytes);
  return _mm512_set1_epi32(pair);
}

template <int kRows, int kVectors>
ISOFLOP_AVX512_BF16 void multiply(const Bf16Block& block) {
  const auto last = static_cast<__mmask16>((1u << (block.cols - 16 * (kVectors - 1))) - 1);
  const bf16 *a = block.a, *panel = block.panel;
  const int64_t row_step = block.row_step, panel_step = block.panel_step;
  __m512 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = block.accumulate
                      ? _mm512_maskz_loadu_ps(v == kVectors - 1 ? last : __mmask16{0xffff},
                                              block.c + r * block.ldc + 16 * v)
                      : _mm512_setzero_ps();
  const auto add_pair = [&](size_t bytes) ISOFLOP_AVX512_BF16 {
    __m512bh columns[kVectors];
    for (int v = 0; v < kVectors; ++v)
      columns[v] = (__m512bh)_mm512_loadu_si512(panel + v * panel_step);
    for (int r = 0; r < kRows; ++r) {
      const __m512bh pair = (__m512bh)broadcast(a + r * row_step, bytes);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], pair, columns[v]);
    }
    a += block.pair_step;
    panel += 2 * kPanel;
  };
  for (int64_t p = 0; p < block.pairs; ++p) add_pair(2 * sizeof(bf16));
  if (block.odd) add_pair(sizeof(bf16));
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      _mm512_mask_storeu_ps(block.c + r * block.ldc + 16 * v,
                            v == kVectors - 1 ? last : __mmask16{0xffff}, sum[r][v]);
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

void multiply_block_avx512_bf16(const Bf16Block& block) {
  Bf16Block rest = block;
  const auto take = [&](int64_t rows) {
    rest.rows -= rows;
    rest.a += rows * block.row_step;
    rest.c += rows * block.ldc;
  };
  static_assert(kBlockRows == 8);
  if (rest.rows == 8) return multiply_rows<8>(rest);
  if (rest.rows & 4) multiply_rows<4>(rest), take(4);
  if (rest.rows & 2) multiply_rows<2>(rest), take(2);
  if (rest.rows & 1) multiply_rows<1>(rest);
}

}  // namespace isoflop::cpu

#else

namespace isoflop::cpu {
void multiply_block_avx512_bf16(const Bf16Block&) {
  ISOFLOP_CHECK(false, "AVX512-BF16 on a processor without it");
}
}  // namespace isoflop::cpu

#endif
