// Single-threaded row-major matrix product, the tile of every parallel one.
#pragma once
#include <cstdint>

namespace isoflop::cpu {

/// C = alpha op(A) op(B) + beta C with C (m, n) and inner length k; op transposes where the flag is
/// 'T'.
struct Gemm {
  char transpose_a = 'N', transpose_b = 'N';
  int64_t m = 0, n = 0, k = 0;
  float alpha = 1;
  const float* a = nullptr;
  int64_t lda = 0;
  const float* b = nullptr;
  int64_t ldb = 0;
  float beta = 0;
  float* c = nullptr;
  int64_t ldc = 0;
};
void gemm(const Gemm&);

}  // namespace isoflop::cpu
