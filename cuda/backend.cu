// Where nvcc makes the kernels: all of GpuBackend for a CUDA device.
#include "cuda/backend.hpp"
#include "cuda/cuda_device.hpp"
#include "cuda/gpu_backend.hpp"

namespace isoflop::gpu {

std::unique_ptr<Backend> make_gpu_backend() {
  return std::make_unique<GpuBackend<CudaDevice>>();
}

}  // namespace isoflop::gpu
