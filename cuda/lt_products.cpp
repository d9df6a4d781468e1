#include "cuda/lt_products.hpp"

#include "core/error.hpp"
#include "cuda/cuda_device.hpp"
#include "cuda/lt_library.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace isoflop::gpu {

namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what Hopper's kernels want at most

void check_lt(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail_io("cuBLASLt: {} in {}", lt().cublasLtGetStatusString(status), call);
}
#define ISOFLOP_LT(call) check_lt((call), #call)

cudaDataType_t type_of(DType type) {
  return type == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// The largest power of two up to 256 that an address is a multiple of.
int64_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return address == 0 ? 256 : static_cast<int64_t>(std::min<uintptr_t>(address & -address, 256));
}

cublasLtMatrixLayout_t layout(DType type, int64_t rows, int64_t cols, int64_t leading) {
  cublasLtMatrixLayout_t made = nullptr;
  ISOFLOP_LT(lt().cublasLtMatrixLayoutCreate(&made, type_of(type), static_cast<uint64_t>(rows),
                                             static_cast<uint64_t>(cols), leading));
  return made;
}

}  // namespace

LtProducts::~LtProducts() {
  for (auto& [key, plan] : plans_) {
    for (const cublasLtMatrixLayout_t made : {plan.a, plan.b, plan.c, plan.d})
      if (made) lt().cublasLtMatrixLayoutDestroy(made);
    if (plan.operation) lt().cublasLtMatmulDescDestroy(plan.operation);
  }
  if (handle_) lt().cublasLtDestroy(handle_);
}

std::string LtProducts::description() const {
  const size_t version = lt().cublasLtGetVersion();
  return fmt::format("cuBLASLt {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

LtProducts::Key LtProducts::key_of(const Product& p) {
  return {p.m,
          p.n,
          p.k,
          p.lda,
          p.ldb,
          p.ldc,
          p.ldd,
          p.transpose_a + 2 * p.transpose_b + 4 * (p.bias != nullptr) + 8 * (p.beta != 0),
          static_cast<int64_t>(p.type),
          alignment_of(p.a),
          alignment_of(p.b),
          alignment_of(p.c),
          alignment_of(p.d)};
}

LtProducts::Plan LtProducts::make_plan(const Product& p) {
  Plan plan;
  ISOFLOP_LT(lt().cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) {
    ISOFLOP_LT(lt().cublasLtMatmulDescSetAttribute(plan.operation, name, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (p.bias) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  }
  plan.a =
      p.transpose_a ? layout(DType::bf16, p.k, p.m, p.lda) : layout(DType::bf16, p.m, p.k, p.lda);
  plan.b =
      p.transpose_b ? layout(DType::bf16, p.n, p.k, p.ldb) : layout(DType::bf16, p.k, p.n, p.ldb);
  plan.c = layout(p.type, p.m, p.n, p.c ? p.ldc : p.ldd);
  plan.d = layout(p.type, p.m, p.n, p.ldd);

  cublasLtMatmulPreference_t preference = nullptr;
  ISOFLOP_LT(lt().cublasLtMatmulPreferenceCreate(&preference));
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t name, const auto& value) {
    ISOFLOP_LT(lt().cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof(value)));
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  const uint32_t sums = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;  // through the workspace, in order
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, sums);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(alignment_of(p.a)));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(alignment_of(p.b)));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(alignment_of(p.c)));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(alignment_of(p.d)));
  cublasLtMatmulHeuristicResult_t found = {};
  int count = 0;
  const cublasStatus_t status = lt().cublasLtMatmulAlgoGetHeuristic(
      handle_, plan.operation, plan.a, plan.b, plan.c, plan.d, preference, 1, &found, &count);
  lt().cublasLtMatmulPreferenceDestroy(preference);
  if (status != CUBLAS_STATUS_SUCCESS || count == 0)
    fail_io(
        "cuBLASLt has no algorithm for a product of {} x {} x {} with strides {}, {} and {}: {}",
        p.m, p.n, p.k, p.lda, p.ldb, p.ldd, lt().cublasLtGetStatusString(status));
  plan.algorithm = found.algo;
  plan.workspace = found.workspaceSize;
  return plan;
}

void LtProducts::multiply(const Product& p, cudaStream_t stream) {
  if (p.m == 0 || p.n == 0) return;
  if (!handle_) {
    ISOFLOP_LT(lt().cublasLtCreate(&handle_));
    workspace_ = allocate_device(kWorkspaceBytes, "the workspace of matrix products");
  }
  auto found = plans_.find(key_of(p));
  if (found == plans_.end()) found = plans_.emplace(key_of(p), make_plan(p)).first;
  const Plan& plan = found->second;
  if (p.bias)
    ISOFLOP_LT(lt().cublasLtMatmulDescSetAttribute(
        plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias, sizeof(p.bias)));
  ISOFLOP_LT(lt().cublasLtMatmul(handle_, plan.operation, &p.scale, p.a, plan.a, p.b, plan.b,
                                 &p.beta, p.c ? p.c : p.d, plan.c, p.d, plan.d, &plan.algorithm,
                                 workspace_.data(), plan.workspace, stream));
}

}  // namespace isoflop::gpu
