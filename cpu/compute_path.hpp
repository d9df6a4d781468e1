// Which way the CPU backend multiplies matrices. What a processor has does not tell what is fast:
// VDPBF16PS makes twice the FLOP/s of fp32 on Zen 4 and half of them on Sapphire Rapids. So the
// ways are measured, a few milliseconds each, and the choice then belongs to the run.
#pragma once
#include "core/dtype.hpp"
#include "cpu/gemm_bf16.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// Whoever changes it changes the bits.
struct ComputePath {
  DType activation = DType::f32;
  cpu::Bf16Kernel kernel = cpu::Bf16Kernel::portable;  // of bf16

  bool operator==(const ComputePath& other) const {
    return activation == other.activation && (activation == DType::f32 || kernel == other.kernel);
  }
};
/// "fp32", "bf16 portable", "bf16 avx512-bf16".
std::string name_of(const ComputePath& path);

/// fp32, then bf16 with every kernel that runs here, the most special one first.
std::vector<ComputePath> available_paths();

struct PathRate {
  ComputePath path;
  double flops = 0;  // per second, of one thread
};
/// The three products of a weight as training makes them, on one thread, the best of a few samples:
/// what else runs here only slows a sample down. About 5 ms where the rate is 0.1 TFLOP/s.
PathRate measure_path(const ComputePath& path);

struct PathChoice {
  ComputePath path;
  std::string reason;  // for people
};

/// Repeated on a busy machine, a measurement moves by up to 15 %: less than this is no difference,
/// and the numbers of fp32, or the instruction made for the purpose, win.
constexpr double kClearlyFaster = 1.2;

/// The path to take of `rates`, in the order of available_paths() and not empty: the first one
/// unless another is clearly faster.
PathChoice choose_path(const std::vector<PathRate>& rates);

}  // namespace isoflop
