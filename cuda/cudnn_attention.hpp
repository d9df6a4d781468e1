// Causal attention by cuDNN, where it takes the shape and is faster than cuda/attention.hpp.
#pragma once
#include "cuda/picks.hpp"
#include "ops/attention.hpp"

#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <string>

namespace isoflop::gpu {

/// Of a shape seen for the first time, the library's ways and `own`, which queues the same by our
/// kernels, are timed on the spot; the choice is in the kernel plan, as a product's is. Only ways
/// whose sums have a fixed order are asked for: in the backward the scores' gradient goes through
/// memory, so a batch is cut where that would take more than 4 GiB, and what does not fit even so
/// is left to our kernels. Each call returns whether it queued the operation.
class CudnnAttention {
 public:
  CudnnAttention();
  ~CudnnAttention();

  bool run(const AttentionForward& op,
           const std::function<void()>& own,
           Picks& picks,
           cudaStream_t stream);
  bool run(const AttentionBackward& op,
           const std::function<void()>& own,
           Picks& picks,
           cudaStream_t stream);
  /// "cuDNN 9.19.0", or why our kernels do it.
  std::string description() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isoflop::gpu
