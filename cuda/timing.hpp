// How long a call takes on the device's own clock; for choices between ways to do the same.
#pragma once
#include "cuda/cuda_device.hpp"

#include <algorithm>
#include <limits>

namespace isoflop::gpu {

/// The least of three goes after one that does not count.
template <class Call>
double seconds_of(cudaStream_t stream, Call&& call) {
  cudaEvent_t ends[2] = {};
  for (cudaEvent_t& end : ends) ISOFLOP_CUDA(cudaEventCreate(&end));
  call();
  float best = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 3; ++i) {
    ISOFLOP_CUDA(cudaEventRecord(ends[0], stream));
    call();
    ISOFLOP_CUDA(cudaEventRecord(ends[1], stream));
    ISOFLOP_CUDA(cudaEventSynchronize(ends[1]));
    float milliseconds = 0;
    ISOFLOP_CUDA(cudaEventElapsedTime(&milliseconds, ends[0], ends[1]));
    best = std::min(best, milliseconds);
  }
  for (const cudaEvent_t& end : ends) cudaEventDestroy(end);
  return static_cast<double>(best) * 1e-3;
}

}  // namespace isoflop::gpu
