// A device for GpuBackend on the host: kernels by the emulator, products by plain loops. Its memory
// is the host's, so that it takes the tensors of the op cases (tests/ops/op_case.hpp). What it
// allocates itself can be touched during its own calls only: host code that reads or writes a
// device's memory ends the test.
#pragma once
#include "cuda/gpu_backend.hpp"
#include "cuda/picks.hpp"
#include "tests/cuda/emulator.hpp"

#include <sys/mman.h>

#include <map>
#include <memory>

namespace isoflop::test {

class EmulatedDevice {
 public:
  /// `algorithm`: what its timing would find fastest for shapes that no plan knows: 0 sums a
  /// product in double and takes GELU behind it, 1 sums in float and leaves GELU to a kernel.
  explicit EmulatedDevice(Turns turns, int algorithm = 0) : turns_(turns), algorithm_(algorithm) {}

  std::string description() const { return "emulated GPU"; }
  std::string choices() const { return picks_.text(); }
  void use_choices(const std::string& lines) { picks_.read(lines); }
  Buffer allocate(size_t bytes, const std::string& what) {
    const size_t pages = (bytes / 4096 + 1) * 4096;
    void* data = ::mmap(nullptr, pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) fail_io("not enough memory: {}", what);
    regions_->emplace(data, pages);
    return Buffer(data, bytes, [regions = regions_, pages](void* p) {
      regions->erase(p);
      ::munmap(p, pages);
    });
  }
  void synchronize() { ++waits_; }
  void* queue() const { return nullptr; }  // every call is done when it returns
  /// `call` may read and write this device's memory.
  template <class Call>
  void touch(Call&& call) {
    const Open open(*regions_);
    call();
  }
  /// Whether all of it is memory that was allocated here.
  bool owns(const void* data, size_t bytes) const {
    const auto* first = static_cast<const std::byte*>(data);
    return std::any_of(regions_->begin(), regions_->end(), [&](const auto& region) {
      const auto* begin = static_cast<const std::byte*>(region.first);
      return first >= begin && first + bytes <= begin + region.second;
    });
  }
  /// How often the host waited for the device so far.
  int64_t waits() const { return waits_; }
  void upload(const void* host, void* here, size_t bytes) {
    const Open open(*regions_);
    std::memcpy(here, host, bytes);
  }
  void download(const void* here, void* host, size_t bytes) {
    ++waits_;
    const Open open(*regions_);
    std::memcpy(host, here, bytes);
  }
  void fill_zero(void* here, size_t bytes) {
    const Open open(*regions_);
    std::memset(here, 0, bytes);
  }

  template <class Kernel>
  void launch(const gpu::Launch& launch, const Kernel& kernel) {
    const Open open(*regions_);
    emulate(launch, turns_, kernel);
  }
  template <class T>
  T* scratch(int64_t count) {
    return fresh<T>(scratch_, count);
  }
  template <class T>
  const T* send(std::span<const T> values) {
    if (values.empty()) return nullptr;
    T* there = fresh<T>(sent_, static_cast<int64_t>(values.size()));
    std::copy(values.begin(), values.end(), there);
    return there;
  }
  template <class T>
  std::span<const T> receive(const T* values, int64_t count) {
    ++waits_;
    return {values, static_cast<size_t>(count)};
  }

  void fetch(const double* here, int64_t count) {
    const Open open(*regions_);
    fetched_.assign(here, here + count);
  }
  std::span<const double> fetched() {
    ++waits_;
    return fetched_;
  }

  template <class Apart>
  bool fuses(const gpu::Product& p, Apart&&) {
    if (!takes_epilogue(p)) return false;
    const std::string shape = fmt::format("epilogue:{}x{}x{}", p.m, p.n, p.k);
    if (!picks_.find(shape)) picks_.set(shape, algorithm_ == 0 ? "fused" : "apart");
    return *picks_.find(shape) == "fused";
  }
  template <class Op, class Own>
  bool attend(const Op&, Own&&) {
    return false;
  }
  void multiply(const gpu::Product& p) {
    const Open open(*regions_);
    const std::string shape = fmt::format("{}x{}x{}", p.m, p.n, p.k);
    if (!picks_.find(shape)) picks_.set(shape, std::to_string(algorithm_));
    const bool in_float = *picks_.find(shape) == "1";
    for (int64_t j = 0; j < p.n; ++j)
      for (int64_t i = 0; i < p.m; ++i) {
        double sum = 0;
        for (int64_t l = 0; l < p.k; ++l) {
          sum += to_float(p.transpose_a ? p.a[i * p.lda + l] : p.a[l * p.lda + i]) *
                 to_float(p.transpose_b ? p.b[l * p.ldb + j] : p.b[j * p.ldb + l]);
          if (in_float) sum = static_cast<float>(sum);
        }
        double value = p.scale * sum;
        if (p.beta != 0) value += p.beta * element(p.c, p.type, j * p.ldc + i);
        if (p.bias) value += to_float(p.bias[i]);
        if (p.epilogue != gpu::Epilogue::none) {
          bf16& aux = p.aux[j * p.ld_aux + i];
          const auto v = static_cast<float>(value);
          if (p.epilogue == gpu::Epilogue::gelu) {
            aux = to_bf16(v);
            value = gpu::gelu(v, Gelu::tanh);
          } else {
            value *= gpu::gelu_derivative(to_float(aux), Gelu::tanh);
          }
        }
        const View d = make_view(p.d, p.type, 1, j * p.ldd + i + 1);
        store_scalar(d, 0, j * p.ldd + i, value);
      }
  }

 private:
  using Regions = std::map<void*, size_t>;
  struct Open {
    explicit Open(const Regions& regions) : regions_(regions) { set(PROT_READ | PROT_WRITE); }
    ~Open() { set(PROT_NONE); }
    void set(int protection) const {
      for (const auto& [data, bytes] : regions_) ::mprotect(data, bytes, protection);
    }
    const Regions& regions_;
  };

  static double element(const void* data, DType type, int64_t i) {
    return load_scalar(make_view(const_cast<void*>(data), type, 1, i + 1), 0, i);
  }
  /// New memory full of NaN each time: what an earlier call left must not matter.
  template <class T>
  static T* fresh(Buffer& buffer, int64_t count) {
    buffer = allocate_host(static_cast<size_t>(count) * sizeof(T), "scratch");
    std::memset(buffer.data(), 0xff, buffer.bytes());
    return reinterpret_cast<T*>(buffer.data());
  }

  Turns turns_;
  int algorithm_;
  int64_t waits_ = 0;
  std::vector<double> fetched_;
  gpu::Picks picks_;
  std::shared_ptr<Regions> regions_ = std::make_shared<Regions>();  // Buffers outlive the device
  Buffer scratch_, sent_;
};

inline std::unique_ptr<Backend> make_emulated_gpu(Turns turns = Turns::ascending,
                                                  int algorithm = 0) {
  return std::make_unique<gpu::GpuBackend<EmulatedDevice>>(turns, algorithm);
}

}  // namespace isoflop::test
