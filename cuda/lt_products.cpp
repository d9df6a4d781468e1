#include "cuda/lt_products.hpp"

#include "core/error.hpp"
#include "cuda/cuda_device.hpp"
#include "cuda/lt_library.hpp"
#include "cuda/timing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>

namespace isoflop::gpu {

namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what Hopper's kernels want at most
constexpr int kCandidates = 8;                        // algorithms timed for a shape

void check_lt(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  fail_io("cuBLASLt: {} in {}", lt().cublasLtGetStatusString(status), call);
}
#define ISOFLOP_LT(call) check_lt((call), #call)

cudaDataType_t type_of(DType type) {
  return type == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

/// The largest power of two that an address is a multiple of, up to what every tensor has: where it
/// lies beyond that differs from rank to rank, and what is chosen for its shape must not.
int64_t alignment_of(const void* data) {
  const auto address = reinterpret_cast<uintptr_t>(data);
  return static_cast<int64_t>(address == 0 ? kAlignment
                                           : std::min<uintptr_t>(address & -address, kAlignment));
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

/// The library's GELU is the tanh form.
static cublasLtEpilogue_t epilogue_of(const Product& p) {
  if (p.epilogue == Epilogue::gelu)
    return p.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  if (p.epilogue == Epilogue::gelu_gradient) return CUBLASLT_EPILOGUE_DGELU;
  return p.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

LtProducts::Key LtProducts::key_of(const Product& p) {
  return {p.m,
          p.n,
          p.k,
          p.lda,
          p.ldb,
          p.ldc,
          p.ldd,
          p.transpose_a + 2 * p.transpose_b + 4 * (p.bias != nullptr) + 8 * (p.beta != 0) +
              16 * static_cast<int>(p.epilogue),
          static_cast<int64_t>(p.type),
          alignment_of(p.a),
          alignment_of(p.b),
          alignment_of(p.c),
          alignment_of(p.d),
          p.ld_aux,
          alignment_of(p.aux)};
}

// The 64 bytes of an algorithm mean the same to the same version of the library, which is in the
// backend's description; after them the bytes of workspace it wants.
std::string text_of(const cublasLtMatmulAlgo_t& algorithm, size_t workspace) {
  std::string text;
  for (const uint64_t word : algorithm.data) text += fmt::format("{:016x}", word);
  return text + fmt::format("+{}", workspace);
}

bool parse_algorithm(const std::string& text, cublasLtMatmulAlgo_t& algorithm, size_t& workspace) {
  constexpr size_t kWords = std::size(cublasLtMatmulAlgo_t{}.data), kDigits = 16 * kWords;
  if (text.size() <= kDigits + 1 || text[kDigits] != '+') return false;
  for (size_t i = 0; i < kWords; ++i) {
    const char* first = text.data() + 16 * i;
    const auto [end, error] = std::from_chars(first, first + 16, algorithm.data[i], 16);
    if (error != std::errc() || end != first + 16) return false;
  }
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data() + kDigits + 1, last, workspace);
  return error == std::errc() && end == last && workspace <= kWorkspaceBytes;
}

LtProducts::Plan LtProducts::make_plan(const Product& p, cudaStream_t stream) {
  Plan plan;
  ISOFLOP_LT(lt().cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) {
    ISOFLOP_LT(lt().cublasLtMatmulDescSetAttribute(plan.operation, name, &value, sizeof(value)));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p));
  if (p.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  if (p.aux) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux);
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.ld_aux);
  }
  plan.a =
      p.transpose_a ? layout(DType::bf16, p.k, p.m, p.lda) : layout(DType::bf16, p.m, p.k, p.lda);
  plan.b =
      p.transpose_b ? layout(DType::bf16, p.n, p.k, p.ldb) : layout(DType::bf16, p.k, p.n, p.ldb);
  plan.c = layout(p.type, p.m, p.n, p.c ? p.ldc : p.ldd);
  plan.d = layout(p.type, p.m, p.n, p.ldd);
  choose(plan, p, key_of(p), stream);
  return plan;
}

/// What the kernel plan says, or the fastest of those that the library thinks best; nothing when
/// it knows of none.
void LtProducts::choose(Plan& plan, const Product& p, const Key& key, cudaStream_t stream) {
  const std::string shape = fmt::format("{}", fmt::join(key, ","));
  if (const std::string* chosen = picks_.find(shape)) {
    if (!parse_algorithm(*chosen, plan.algorithm, plan.workspace))
      fail_user("the kernel plan has no algorithm of cuBLASLt for {}: {}", shape, *chosen);
    plan.found = true;
    return;
  }
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
  cublasLtMatmulHeuristicResult_t found[kCandidates] = {};
  int count = 0;
  const cublasStatus_t status =
      lt().cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.a, plan.b, plan.c, plan.d,
                                          preference, kCandidates, found, &count);
  lt().cublasLtMatmulPreferenceDestroy(preference);
  plan.found = status == CUBLAS_STATUS_SUCCESS && count > 0;
  if (!plan.found) return;
  // On the data at hand, since zeros are faster than anything that is ever multiplied; into memory
  // that nobody reads, since a result may be added to what is there.
  const size_t bytes = static_cast<size_t>((p.n - 1) * p.ldd + p.m) * size_of(p.type);
  const Buffer unread = allocate_device(bytes, "the result of a product that is timed");
  double best = std::numeric_limits<double>::infinity();
  int chosen = 0;
  for (int i = 0; i < count && count > 1; ++i) {
    plan.algorithm = found[i].algo;
    plan.workspace = found[i].workspaceSize;
    const double seconds = seconds_of(stream, [&] { run(plan, p, unread.data(), stream); });
    if (seconds < best) best = seconds, chosen = i;
  }
  plan.algorithm = found[chosen].algo;
  plan.workspace = found[chosen].workspaceSize;
  picks_.set(shape, text_of(plan.algorithm, plan.workspace));
}

void LtProducts::run(const Plan& plan, const Product& p, void* d, cudaStream_t stream) {
  ISOFLOP_LT(lt().cublasLtMatmul(handle_, plan.operation, &p.scale, p.a, plan.a, p.b, plan.b,
                                 &p.beta, p.c ? p.c : d, plan.c, d, plan.d, &plan.algorithm,
                                 workspace_.data(), plan.workspace, stream));
}

const LtProducts::Plan& LtProducts::plan_for(const Product& p, cudaStream_t stream) {
  if (!handle_) {
    ISOFLOP_LT(lt().cublasLtCreate(&handle_));
    workspace_ = allocate_device(kWorkspaceBytes, "the workspace of matrix products");
  }
  auto found = plans_.find(key_of(p));
  if (found == plans_.end()) found = plans_.emplace(key_of(p), make_plan(p, stream)).first;
  return found->second;
}

void LtProducts::multiply(const Product& p, cudaStream_t stream) {
  if (p.m == 0 || p.n == 0) return;
  const Plan& plan = plan_for(p, stream);
  if (!plan.found)
    fail_io("cuBLASLt has no algorithm for a product of {} x {} x {} with strides {}, {} and {}",
            p.m, p.n, p.k, p.lda, p.ldb, p.ldd);
  const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& pointer) {
    ISOFLOP_LT(
        lt().cublasLtMatmulDescSetAttribute(plan.operation, name, &pointer, sizeof(pointer)));
  };
  if (p.bias) set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
  if (p.aux) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.aux);
  run(plan, p, p.d, stream);
}

bool LtProducts::fuses(const Product& p, const std::function<void()>& apart, cudaStream_t stream) {
  if (p.m == 0 || p.n == 0 || !takes_epilogue(p)) return false;
  const Key key = key_of(p);
  auto found = fused_.find(key);
  if (found == fused_.end())
    found = fused_.emplace(key, chooses_fused(p, key, apart, stream)).first;
  return found->second;
}

/// What the kernel plan says, or what a measurement does.
bool LtProducts::chooses_fused(const Product& p,
                               const Key& key,
                               const std::function<void()>& apart,
                               cudaStream_t stream) {
  const std::string shape = fmt::format("epilogue:{}", fmt::join(key, ","));
  if (const std::string* chosen = picks_.find(shape)) {
    if (*chosen != "fused" && *chosen != "apart")
      fail_user("the kernel plan says neither \"fused\" nor \"apart\" for {}: {}", shape, *chosen);
    return *chosen == "fused";
  }
  const bool fused = plan_for(p, stream).found &&
                     seconds_of(stream, [&] { multiply(p, stream); }) < seconds_of(stream, apart);
  picks_.set(shape, fused ? "fused" : "apart");
  return fused;
}

}  // namespace isoflop::gpu
