#include "cpu/gemm.hpp"

#include "core/error.hpp"

#include <dnnl.h>

extern "C" void omp_set_num_threads(int);  // of the OpenMP runtime that oneDNN was built on

namespace isoflop::cpu {

/// The library generates its kernels on first use; two threads doing that at once were seen to
/// corrupt the heap (oneDNN 2.6.3), so every variant is made here, by one thread, before any other
/// may call.
static bool make_kernels() {
  static float a[64 * 64], b[64 * 64], c[64 * 64];
  for (const char ta : {'N', 'T'})
    for (const char tb : {'N', 'T'})
      for (const float alpha : {1.0f, 0.5f})
        for (const float beta : {0.0f, 1.0f})
          for (const int64_t m : {1, 48, 64})
            for (const int64_t n : {1, 48, 64})
              dnnl_sgemm(ta, tb, m, n, 64, alpha, a, 64, b, 64, beta, c, 64);
  return true;
}

void gemm(const Gemm& g) {
  // The library would split the product over threads of its own; the setting is per calling thread.
  thread_local bool single_threaded = false;
  if (!single_threaded) omp_set_num_threads(1);
  single_threaded = true;
  [[maybe_unused]] static const bool ready = make_kernels();
  const dnnl_status_t status = dnnl_sgemm(g.transpose_a, g.transpose_b, g.m, g.n, g.k, g.alpha, g.a,
                                          g.lda, g.b, g.ldb, g.beta, g.c, g.ldc);
  ISOFLOP_CHECK(status == dnnl_success, "dnnl_sgemm of {} x {} x {} answered {}", g.m, g.n, g.k,
                static_cast<int>(status));
}

}  // namespace isoflop::cpu
