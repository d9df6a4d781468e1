// One CUDA device as gpu_backend.hpp wants it: a stream, memory, and kernels launched on it.
// Products are in lt_products.hpp. Host memory that travels goes through pinned staging, so that
// send() never waits unless the staging is full of what has not left yet.
#pragma once
#include "core/buffer.hpp"
#include "cuda/cudnn_attention.hpp"
#include "cuda/lt_products.hpp"
#include "cuda/thread.hpp"

#include <cuda_runtime.h>

#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <type_traits>

namespace isoflop::gpu {

/// Throws IoError with the call, what CUDA says, and `what`.
void check_cuda(cudaError_t status, const char* call, const char* file, int line);
#define ISOFLOP_CUDA(call) ::isoflop::gpu::check_cuda((call), #call, __FILE__, __LINE__)

Buffer allocate_device(size_t bytes, const std::string& what);

#ifdef __CUDACC__
template <class Kernel>
__global__ void run_kernel(const Kernel kernel) {
  DeviceThread thread;
  kernel(thread);
}
#endif

class CudaDevice {
 public:
  CudaDevice();
  ~CudaDevice();
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  std::string description() const;
  Buffer allocate(size_t bytes, const std::string& what) { return allocate_device(bytes, what); }
  void synchronize();
  cudaStream_t queue() const { return stream_; }
  void upload(const void* host, void* here, size_t bytes);
  void download(const void* here, void* host, size_t bytes);
  void fill_zero(void* here, size_t bytes);
  void multiply(const Product& product) { products_.multiply(product, stream_); }
  bool fuses(const Product& product, const std::function<void()>& apart) {
    return products_.fuses(product, apart, stream_);
  }
  template <class Op>
  bool attend(const Op& op, const std::function<void()>& own) {
    return attention_.run(op, own, products_.picks(), stream_);
  }
  std::string choices() const { return products_.picks().text(); }
  void use_choices(const std::string& lines) { products_.picks().read(lines); }

#ifdef __CUDACC__
  template <class Kernel>
  void launch(const Launch& launch, const Kernel& kernel) {
    static_assert(std::is_trivially_copyable_v<Kernel> && sizeof(Kernel) <= 4096);
    if (launch.shared > kPlainShared) allow_shared(run_kernel<Kernel>, launch.shared);
    run_kernel<Kernel><<<static_cast<unsigned>(launch.blocks),
                         static_cast<unsigned>(launch.threads), launch.shared, stream_>>>(kernel);
    ISOFLOP_CUDA(cudaGetLastError());
  }
#endif
  template <class T>
  T* scratch(int64_t count) {
    return static_cast<T*>(at_least(scratch_, static_cast<size_t>(count) * sizeof(T)));
  }
  template <class T>
  const T* send(std::span<const T> values) {
    return static_cast<const T*>(send_bytes(values.data(), values.size_bytes()));
  }
  template <class T>
  std::span<const T> receive(const T* here, int64_t count) {
    const size_t bytes = static_cast<size_t>(count) * sizeof(T);
    return {static_cast<const T*>(receive_bytes(here, bytes)), static_cast<size_t>(count)};
  }
  void fetch(const double* here, int64_t count);
  std::span<const double> fetched();

 private:
  static constexpr size_t kPlainShared = size_t{48} << 10;  // what a kernel has without asking

  void* at_least(Buffer& buffer, size_t bytes);
  const void* send_bytes(const void* host, size_t bytes);
  const void* receive_bytes(const void* here, size_t bytes);
  template <class Function>
  static void allow_shared(Function* function, size_t bytes) {
    ISOFLOP_CUDA(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(bytes)));
  }

  /// Half of the pinned staging, and when it has left.
  struct Half {
    Buffer memory;
    size_t used = 0;
    cudaEvent_t left = nullptr;
  };

  cudaStream_t stream_ = nullptr;
  LtProducts products_;
  CudnnAttention attention_;
  Buffer scratch_, sent_, received_, fetched_;
  int64_t fetched_count_ = 0;
  cudaEvent_t fetched_at_ = nullptr;
  Half halves_[2];
  int half_ = 0;
};

}  // namespace isoflop::gpu
