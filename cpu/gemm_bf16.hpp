// Single-threaded product of bf16 matrices with fp32 sums, the tile of every parallel one.
//
// The right operand is packed. Its columns are cut into panels of kPanel; within a panel two
// successive elements of the inner length stand side by side, column after column, because the
// instruction that multiplies bf16 (VDPBF16PS) takes pairs:
//
//   panel[(k / 2) * 2 * kPanel + 2 * column + k % 2]
//
// An odd inner length and the columns missing in the last panel are padded with zeros. The left
// operand is read where it lies; of a transposed one a few rows at a time are brought into order.
#pragma once
#include "core/dtype.hpp"
#include "core/math.hpp"
#include "core/view.hpp"

#include <optional>
#include <string_view>

namespace isoflop::cpu {

constexpr int64_t kPanel = 16;  // a register of AVX-512, a row of a tile of AMX

/// Elements from one panel to the next.
inline int64_t panel_stride(int64_t inner) {
  return round_up(inner, 2) * kPanel;
}
inline int64_t packed_size(int64_t inner, int64_t cols) {
  return panel_stride(inner) * div_ceil(cols, kPanel);
}

/// Packs rows [first, last) of B = source, (inner, cols) of fp32 or bf16; `first` is even.
struct PackRows {
  View source;
  int64_t first, last;
  bf16* panels;
};
void pack_rows(const PackRows& job);
/// Packs one panel of B = source^T, from (cols, inner) of fp32 or bf16.
void pack_columns(View source, int64_t panel, bf16* panels);

/// C = A B, or C += A B when `accumulate`, with C (m, n) of fp32 and inner length k.
struct GemmBf16 {
  int64_t m = 0, n = 0, k = 0;
  const bf16* a = nullptr;
  int64_t lda = 0;            // elements from a row to the next
  bool transposed_a = false;  // `a` is A^T, (k, m)
  const bf16* b = nullptr;    // panels of (k, n)
  int64_t b_inner = 0;        // inner length that B was packed with, when only k of it are used
  float* c = nullptr;
  int64_t ldc = 0;
  bool accumulate = false;
};

/// How the sums are made; each rounds differently.
enum class Bf16Kernel {
  portable,     // fp32 instructions on widened numbers
  avx512_bf16,  // VDPBF16PS
  amx,          // TDPBF16PS (gemm_bf16_amx.hpp)
};
/// All of them, those that need more of the processor first.
constexpr Bf16Kernel kBf16Kernels[] = {Bf16Kernel::amx, Bf16Kernel::avx512_bf16,
                                       Bf16Kernel::portable};
bool runs_here(Bf16Kernel kernel);
/// The first that runs here, which need not be the fastest (compute_path.hpp).
Bf16Kernel first_bf16_kernel();
std::string_view name_of(Bf16Kernel kernel);
/// Nothing when no kernel is called that.
std::optional<Bf16Kernel> bf16_kernel_named(std::string_view name);

void gemm_bf16(const GemmBf16& product, Bf16Kernel kernel);

/// What the kernels implement: up to kBlockCols columns of up to kBlockRows rows over `pairs` pairs
/// of the inner length and, when `odd`, half a pair more. Element (row, pair) of A begins at a[row
/// * row_step + pair * pair_step].
struct Bf16Block {
  int64_t rows, cols, pairs;
  bool odd;
  const bf16* a;
  int64_t row_step, pair_step;
  const bf16* panel;
  int64_t panel_step;  // elements to the next panel
  float* c;
  int64_t ldc;
  bool accumulate;
};
constexpr int64_t kBlockRows = 8, kBlockCols = 3 * kPanel;  // fill AVX-512's registers with sums
void multiply_block_avx512_bf16(const Bf16Block& block);

}  // namespace isoflop::cpu
