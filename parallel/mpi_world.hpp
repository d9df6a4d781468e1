// The ranks that MPI started together.
#pragma once
#include "parallel/communicator.hpp"

namespace isoflop {

/// Null when the program was built without MPI. Once per process; at most one thread of the process
/// calls MPI, the one that this makes.
std::unique_ptr<World> make_mpi_world();

}  // namespace isoflop
