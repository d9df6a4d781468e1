// Matrix products by cuBLASLt. Of a shape seen for the first time the library is asked for its best
// algorithms, which are timed on the spot; the fastest is kept: the same for the whole run, in its
// kernel plan (picks.hpp), and so the same bits. In-place split sums, whose order is not fixed, are
// not asked for. A product with an epilogue is timed against the same in parts as well.
#pragma once
#include "core/buffer.hpp"
#include "cuda/picks.hpp"
#include "cuda/product.hpp"

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace isoflop::gpu {

class LtProducts {
 public:
  LtProducts() = default;
  ~LtProducts();
  LtProducts(const LtProducts&) = delete;
  LtProducts& operator=(const LtProducts&) = delete;

  void multiply(const Product& product, cudaStream_t stream);
  /// Whether a product with an epilogue is better done by multiply() than by `apart`, which queues
  /// the same in parts. Either may have been done after the call, or none.
  bool fuses(const Product& product, const std::function<void()>& apart, cudaStream_t stream);
  /// "cuBLASLt 13.1.0"
  std::string description() const;
  Picks& picks() { return picks_; }
  const Picks& picks() const { return picks_; }

 private:
  /// Everything an algorithm depends on.
  using Key = std::array<int64_t, 15>;
  /// Descriptors of one shape and the algorithm for it, if there is one.
  struct Plan {
    bool found = false;
    cublasLtMatmulDesc_t operation = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr, d = nullptr;
    cublasLtMatmulAlgo_t algorithm = {};
    size_t workspace = 0;
  };
  static Key key_of(const Product& product);
  const Plan& plan_for(const Product& product, cudaStream_t stream);
  Plan make_plan(const Product& product, cudaStream_t stream);
  void choose(Plan& plan, const Product& product, const Key& key, cudaStream_t stream);
  bool chooses_fused(const Product& product,
                     const Key& key,
                     const std::function<void()>& apart,
                     cudaStream_t stream);
  void run(const Plan& plan, const Product& product, void* d, cudaStream_t stream);

  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  std::map<Key, Plan> plans_;
  std::map<Key, bool> fused_;  // of products with an epilogue
  Picks picks_;
};

}  // namespace isoflop::gpu
