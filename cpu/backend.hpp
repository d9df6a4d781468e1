// The CPU backend. In fp32: oneDNN's sgemm on tiles of our own cutting, Highway for the rest. In
// bf16: activations are stored in bf16, products take bf16 operands (own kernel, own packed copies
// of the weights) and sum in fp32; masters, gradients, statistics and all other arithmetic are
// fp32.
//
// One file per op family. Work is cut by shape alone into tiles, the team's threads pick tiles,
// sums over rows are made per fixed block of rows and then added in block order: the bits of a
// result are the same for any number of threads.
#pragma once
#include "core/threads.hpp"
#include "cpu/gemm_bf16.hpp"
#include "ops/backend.hpp"

#include <memory>

namespace isoflop {

/// Activations in f32 or bf16; `kernel`, which must run here, multiplies in bf16
/// (compute_path.hpp chooses). The team must outlive the backend. One backend serves one calling
/// thread at a time.
std::unique_ptr<Backend> make_cpu_backend(ThreadTeam& team,
                                          DType activation = DType::f32,
                                          cpu::Bf16Kernel kernel = cpu::first_bf16_kernel());

}  // namespace isoflop
