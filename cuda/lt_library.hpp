// cuBLASLt, loaded when the first GPU is used: half a gigabyte that a program on a machine without
// one neither needs nor waits for. Calls go through lt(), under the names of the library.
#pragma once
#include <cublasLt.h>

#include <string>

namespace isoflop::gpu {

#define ISOFLOP_LT_FUNCTIONS(F)           \
  F(cublasLtCreate)                       \
  F(cublasLtDestroy)                      \
  F(cublasLtGetStatusString)              \
  F(cublasLtGetVersion)                   \
  F(cublasLtMatmul)                       \
  F(cublasLtMatmulAlgoGetHeuristic)       \
  F(cublasLtMatmulDescCreate)             \
  F(cublasLtMatmulDescDestroy)            \
  F(cublasLtMatmulDescSetAttribute)       \
  F(cublasLtMatmulPreferenceCreate)       \
  F(cublasLtMatmulPreferenceDestroy)      \
  F(cublasLtMatmulPreferenceSetAttribute) \
  F(cublasLtMatrixLayoutCreate)           \
  F(cublasLtMatrixLayoutDestroy)

struct LtLibrary {
#define ISOFLOP_LT_MEMBER(name) decltype(&::name) name = nullptr;
  ISOFLOP_LT_FUNCTIONS(ISOFLOP_LT_MEMBER)
#undef ISOFLOP_LT_MEMBER
};

/// Why the library cannot be used, and what to do; empty when it can. Loads it.
std::string lt_problem();
/// UserError with lt_problem() when there is one.
const LtLibrary& lt();

}  // namespace isoflop::gpu
