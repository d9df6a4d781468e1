// An all-reduce as others make it, to measure ours against: MPI's own, and without MPI a ring. Its
// bits depend on the number of ranks, the size of the message and the library.
#pragma once
#include "parallel/communicator.hpp"

#include <cstddef>

namespace isoflop {

/// data := sum over the ranks of `group`. Waits. Collective.
void plain_sum(Communicator& group, float* data, size_t count);

}  // namespace isoflop
