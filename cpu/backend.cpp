#include "cpu/backend.hpp"

#include "cpu/cpu_backend.hpp"

#include <dnnl.h>
#include <fmt/core.h>
#include <hwy/targets.h>

#include <cctype>

namespace isoflop {

std::unique_ptr<Backend> make_cpu_backend(ThreadTeam& team,
                                          DType activation,
                                          cpu::Bf16Kernel kernel) {
  ISOFLOP_CHECK(activation == DType::f32 || activation == DType::bf16,
                "the CPU backend computes in f32 or bf16, not in {}", name_of(activation));
  ISOFLOP_CHECK(cpu::runs_here(kernel), "this processor has no {}", cpu::name_of(kernel));
  return std::make_unique<cpu::CpuBackend>(team, activation, kernel);
}

namespace cpu {

void* Scratch::bytes(size_t count) {
  if (count > buffer_.bytes()) {
    buffer_ = Buffer();  // free first: contents need not survive
    buffer_ = allocate_host(count, "scratch of the CPU backend");
  }
  return buffer_.data();
}

float* Scratch::floats(int64_t count) {
  return static_cast<float*>(bytes(static_cast<size_t>(count) * sizeof(float)));
}

double* Scratch::doubles(int64_t count) {
  return static_cast<double*>(bytes(static_cast<size_t>(count) * sizeof(double)));
}

bf16* Scratch::bf16s(int64_t count) {
  return static_cast<bf16*>(bytes(static_cast<size_t>(count) * sizeof(bf16)));
}

CpuBackend::CpuBackend(ThreadTeam& team, DType activation, Bf16Kernel kernel)
    : team_(team), activation_(activation), kernel_(kernel) {
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());  // so that dispatch is a table look-up
}

std::string CpuBackend::description() const {
  std::string target = vector_target();
  for (char& c : target) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const dnnl_version_t* version = dnnl_version();
  const std::string own = activation_ == DType::bf16
                              ? fmt::format("bf16 products {}, ", cpu::name_of(kernel_))
                              : std::string();
  return fmt::format("cpu {}, {}oneDNN {}.{}.{} fp32", target, own, version->major, version->minor,
                     version->patch);
}

Buffer CpuBackend::allocate(size_t bytes, const std::string& what) {
  return allocate_host(bytes, what);
}

// A second model on the same masters, as the one that writes samples during a run, shares what the
// first one holds; made anew, because other memory may have lain at this address before.
WeightRef CpuBackend::prepare(View master) {
  for (Weight& w : weights_)
    if (!w.blocks && w.master.data == master.data && w.master.rows == master.rows &&
        w.master.cols == master.cols && w.master.stride == master.stride) {
      const WeightRef ref{master.rows, master.cols, &w};
      refresh(ref);
      return ref;
    }
  weights_.push_back({master, {}, {}, {}});
  return {master.rows, master.cols, &weights_.back()};
}

}  // namespace cpu
}  // namespace isoflop
