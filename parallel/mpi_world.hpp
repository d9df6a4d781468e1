// The ranks that MPI started together.
#pragma once
#include "parallel/communicator.hpp"

namespace isoflop {

/// Null when the program was built without MPI. Once per process; at most one thread of the process
/// calls MPI, the one that this makes.
std::unique_ptr<World> make_mpi_world();

/// MPI's own all-reduce of a group of that world; false when it is none. Waits. Collective.
bool mpi_plain_sum(Communicator& group, float* data, size_t count);

}  // namespace isoflop
