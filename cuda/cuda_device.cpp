#include "cuda/cuda_device.hpp"

#include "core/error.hpp"
#include "cuda/backend.hpp"
#include "cuda/lt_library.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace isoflop::gpu {

namespace {

constexpr size_t kStagingBytes = size_t{4} << 20;  // of a half, until something larger comes

std::string version_text(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

void check_cuda(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  fail_io("CUDA: {} ({}) in {} at {}:{}", cudaGetErrorString(status), cudaGetErrorName(status),
          call, file, line);
}

/// CUDA's numbers of the devices that we compute on.
static std::vector<int> usable_devices() {
  std::vector<int> usable;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) count = 0;
  cudaGetLastError();  // it would be reported again by the next call
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp device;
    if (cudaGetDeviceProperties(&device, i) == cudaSuccess && device.major >= 8)
      usable.push_back(i);
  }
  return usable;
}

static std::string identity_of(const std::vector<int>& devices) {
  std::string identity;
  for (const int i : devices) {
    cudaDeviceProp device;
    ISOFLOP_CUDA(cudaGetDeviceProperties(&device, i));
    identity.append(device.uuid.bytes, sizeof(device.uuid.bytes));
  }
  return identity;
}

DeviceReport find_devices() {
  DeviceReport report;
  report.built = true;
  // CUDA's toolkits of one major version run on every driver from that version's first one on.
  report.built_for = fmt::format("CUDA {}, needs a driver for CUDA {} or later",
                                 version_text(CUDART_VERSION), CUDART_VERSION / 1000);
  int driver = 0;
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0)
    report.driver = version_text(driver);
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();  // it would be reported again by the next call
    report.problem = report.driver.empty()
                         ? "there is no NVIDIA driver; install one (" + report.built_for + ")"
                         : fmt::format("{}; the driver is for CUDA {}, this program is {}",
                                       cudaGetErrorString(status), report.driver, report.built_for);
    return report;
  }
  const std::vector<int> usable = usable_devices();
  report.devices = static_cast<int>(usable.size());
  report.identity = identity_of(usable);
  if (report.devices == 0)
    report.problem = count == 0 ? "the driver shows no GPU; see nvidia-smi and CUDA_VISIBLE_DEVICES"
                                : "no GPU here has compute capability 8.0 (Ampere) or later";
  else if (report.problem = lt_problem(); !report.problem.empty())
    report.devices = 0;
  return report;
}

void use_device(int which) {
  const std::vector<int> usable = usable_devices();
  if (which < 0 || which >= static_cast<int>(usable.size()))
    fail_user("there is no GPU number {}; there are {}", which, usable.size());
  ISOFLOP_CUDA(cudaSetDevice(usable[static_cast<size_t>(which)]));
}

Buffer allocate_device(size_t bytes, const std::string& what) {
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, std::max<size_t>(bytes, 1));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    fail_io(
        "not enough GPU memory: {} needs {:.2f} GB, {:.2f} of {:.2f} GB are free; try a "
        "smaller model or micro-batch, or compute.recompute",
        what, static_cast<double>(bytes) * 1e-9, static_cast<double>(free) * 1e-9,
        static_cast<double>(total) * 1e-9);
  }
  ISOFLOP_CUDA(status);
  Buffer buffer(data, bytes, [](void* p) { cudaFree(p); });
  // All streams of the program are made to follow the default one's clearing.
  ISOFLOP_CUDA(cudaMemset(data, 0, bytes));
  ISOFLOP_CUDA(cudaDeviceSynchronize());
  return buffer;
}

Buffer allocate_pinned(size_t bytes, const std::string& what) {
  void* data = nullptr;
  if (cudaHostAlloc(&data, std::max<size_t>(bytes, 1), cudaHostAllocDefault) != cudaSuccess) {
    cudaGetLastError();
    fail_io("not enough memory that can be pinned: {} needs {:.2f} GB", what,
            static_cast<double>(bytes) * 1e-9);
  }
  std::memset(data, 0, bytes);
  return Buffer(data, bytes, [](void* p) { cudaFreeHost(p); });
}

CudaDevice::CudaDevice() {
  const DeviceReport report = find_devices();
  if (report.devices == 0) fail_user("there is no GPU to compute on: {}", report.problem);
  ISOFLOP_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  ISOFLOP_CUDA(cudaEventCreateWithFlags(&fetched_at_, cudaEventDisableTiming));
  for (Half& half : halves_) {
    ISOFLOP_CUDA(cudaEventCreateWithFlags(&half.left, cudaEventDisableTiming));
    half.memory = allocate_pinned(kStagingBytes, "staging");
  }
}

CudaDevice::~CudaDevice() {
  if (stream_) cudaStreamSynchronize(stream_);
  for (Half& half : halves_)
    if (half.left) cudaEventDestroy(half.left);
  if (fetched_at_) cudaEventDestroy(fetched_at_);
  if (stream_) cudaStreamDestroy(stream_);
}

std::string CudaDevice::description() const {
  int id = 0;
  cudaDeviceProp device;
  ISOFLOP_CUDA(cudaGetDevice(&id));
  ISOFLOP_CUDA(cudaGetDeviceProperties(&device, id));
  return fmt::format("cuda {} sm_{}{}, bf16, {}, {}", device.name, device.major, device.minor,
                     products_.description(), attention_.description());
}

void CudaDevice::synchronize() {
  ISOFLOP_CUDA(cudaStreamSynchronize(stream_));
}

void CudaDevice::upload(const void* host, void* here, size_t bytes) {
  ISOFLOP_CUDA(cudaMemcpyAsync(here, host, bytes, cudaMemcpyHostToDevice, stream_));
  synchronize();  // the caller may change `host` at once
}

void CudaDevice::download(const void* here, void* host, size_t bytes) {
  ISOFLOP_CUDA(cudaMemcpyAsync(host, here, bytes, cudaMemcpyDeviceToHost, stream_));
  synchronize();
}

void CudaDevice::fetch(const double* here, int64_t count) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(double);
  if (bytes > fetched_.bytes()) {
    synchronize();  // an earlier fetch may still be under way
    fetched_ = Buffer();
    fetched_ = allocate_pinned(bytes, "the numbers of a step");
  }
  fetched_count_ = count;
  ISOFLOP_CUDA(cudaMemcpyAsync(fetched_.data(), here, bytes, cudaMemcpyDeviceToHost, stream_));
  ISOFLOP_CUDA(cudaEventRecord(fetched_at_, stream_));
}

std::span<const double> CudaDevice::fetched() {
  ISOFLOP_CUDA(cudaEventSynchronize(fetched_at_));
  return {reinterpret_cast<const double*>(fetched_.data()), static_cast<size_t>(fetched_count_)};
}

void CudaDevice::fill_zero(void* here, size_t bytes) {
  ISOFLOP_CUDA(cudaMemsetAsync(here, 0, bytes, stream_));
}

void* CudaDevice::at_least(Buffer& buffer, size_t bytes) {
  if (bytes > buffer.bytes()) {
    synchronize();  // what is queued may still use the old one
    buffer = Buffer();
    buffer = allocate_device(bytes, "scratch of the GPU backend");
  }
  return buffer.data();
}

const void* CudaDevice::send_bytes(const void* host, size_t bytes) {
  if (bytes == 0) return nullptr;
  void* there = at_least(sent_, bytes);
  const size_t padded = Arena::aligned(bytes);
  if (halves_[half_].used + padded > halves_[half_].memory.bytes()) {
    ISOFLOP_CUDA(cudaEventRecord(halves_[half_].left, stream_));
    half_ ^= 1;
    ISOFLOP_CUDA(cudaEventSynchronize(halves_[half_].left));  // done at once if never recorded
    halves_[half_].used = 0;
    if (padded > halves_[half_].memory.bytes()) {
      halves_[half_].memory = Buffer();
      halves_[half_].memory = allocate_pinned(padded, "staging");
    }
  }
  Half& half = halves_[half_];
  std::byte* staged = half.memory.data() + half.used;
  half.used += padded;
  std::memcpy(staged, host, bytes);
  ISOFLOP_CUDA(cudaMemcpyAsync(there, staged, bytes, cudaMemcpyHostToDevice, stream_));
  return there;
}

const void* CudaDevice::receive_bytes(const void* here, size_t bytes) {
  if (bytes > received_.bytes()) {
    received_ = Buffer();
    received_ = allocate_pinned(bytes, "what a device sends back");
  }
  download(here, received_.data(), bytes);
  return received_.data();
}

}  // namespace isoflop::gpu
