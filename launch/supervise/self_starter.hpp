// Ranks on this machine without mpirun: what the supervisor starts in its place (`isoflop launch
// --start-here N -- PROGRAM ARGUMENTS`), with the same manners. They meet over TCP
// (parallel/tcp_meeting.hpp).
#pragma once
#include <string>
#include <vector>

namespace isoflop {

/// Every line of a rank comes back with that in front, as from mpirun --tag-output. When one ends
/// badly the others have a moment to end by themselves. They die with us. The exit code is the
/// first bad one, as a shell has it. MASTER_ADDR and MASTER_PORT are the caller's.
int start_ranks_here(int ranks, const std::vector<std::string>& program);

}  // namespace isoflop
