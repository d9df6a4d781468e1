#include "launch/machine.hpp"

#include "cpu/backend.hpp"

namespace isoflop {

Machine::Machine(const ComputeConfig& compute)
    : team(compute.threads), backend(make_cpu_backend(team)) {}

}  // namespace isoflop
