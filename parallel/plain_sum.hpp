// MPI's own all-reduce, to measure ours against: its bits depend on the number of ranks, the size
// of the message and the library.
#pragma once
#include "parallel/communicator.hpp"

#include <cstddef>

namespace isoflop {

/// data := sum over the ranks of `group`, which is one of the MPI world or alone. Waits.
/// Collective.
void plain_sum(Communicator& group, float* data, size_t count);

}  // namespace isoflop
