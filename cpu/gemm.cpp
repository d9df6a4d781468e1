#include "cpu/gemm.hpp"

#include "core/error.hpp"

#include <dnnl.h>

extern "C" void omp_set_num_threads(int);  // of the OpenMP runtime that oneDNN was built on

namespace isoflop::cpu {

void gemm(const Gemm& g) {
  // The library would split the product over threads of its own; the setting is per calling thread.
  thread_local bool single_threaded = false;
  if (!single_threaded) omp_set_num_threads(1);
  single_threaded = true;
  const dnnl_status_t status = dnnl_sgemm(g.transpose_a, g.transpose_b, g.m, g.n, g.k, g.alpha, g.a,
                                          g.lda, g.b, g.ldb, g.beta, g.c, g.ldc);
  ISOFLOP_CHECK(status == dnnl_success, "dnnl_sgemm of {} x {} x {} answered {}", g.m, g.n, g.k,
                static_cast<int>(status));
}

}  // namespace isoflop::cpu
