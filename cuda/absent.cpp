// What cuda/ is in a program built without CUDA.
#include "cuda/backend.hpp"
#include "cuda/cudnn_asked.hpp"

namespace isoflop::gpu {

DeviceReport find_devices() {
  DeviceReport report;
  report.problem =
      "this program was built without CUDA; install the CUDA Toolkit and configure with "
      "-DISOFLOP_CUDA=ON";
  return report;
}

void use_device(int) {
  fail_user("there is no GPU to compute on: {}", find_devices().problem);
}

std::unique_ptr<Backend> make_gpu_backend() {
  fail_user("there is no GPU to compute on: {}", find_devices().problem);
}

CudnnTakes ask_cudnn(const AttentionShape&, const std::string&) {
  fail_user("{}", find_devices().problem);
}

Buffer allocate_pinned(size_t bytes, const std::string& what) {
  return allocate_host(bytes, what);
}

}  // namespace isoflop::gpu
