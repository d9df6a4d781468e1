// How many ranks of a group compute on the same cores.
#pragma once
#include "parallel/communicator.hpp"

namespace isoflop {

/// Ranks on this host that may use the same cores as we, us included. Collective.
int count_sharing_cores(Communicator& ranks);

}  // namespace isoflop
