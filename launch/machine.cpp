#include "launch/machine.hpp"

#include "cpu/backend.hpp"

namespace isoflop {

DType activation_dtype(const ComputeConfig& compute) {
  return compute.dtype == "bf16" ? DType::bf16 : DType::f32;
}

Machine::Machine(const ComputeConfig& compute)
    : team(compute.threads), backend(make_cpu_backend(team, activation_dtype(compute))) {}

}  // namespace isoflop
