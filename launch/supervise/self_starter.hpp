// Ranks without mpirun: what the supervisor starts in its place, with the same manners. They meet
// over TCP (parallel/tcp_meeting.hpp).
//
//   isoflop launch --start-here 4 -- PROGRAM ARGUMENTS                             on this machine
//   isoflop launch --start-here 4 --hosts a:2,b:2 -x NAME -- PROGRAM ARGUMENTS     on hosts
//     SHELL b 'isoflop launch --start-told'      of that, by a remote shell, once for each host
//
// What to start on a host, and the variables named by -x, are told on its standard input: nothing
// needs quoting, nothing secret is on a command line, and where it ends the remote shell or its
// starter is gone, and so are the ranks.
#pragma once
#include "launch/supervise/command_lines.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// Every line of a rank comes back with that in front, as from mpirun --tag-output. When one ends
/// badly the others have a moment to end by themselves. They die with us. The exit code is the
/// first bad one, as a shell has it. MASTER_ADDR and MASTER_PORT are the caller's.
int start_ranks_here(int ranks, const std::vector<std::string>& program);

/// Likewise on the hosts, whose slots are filled in order. `exports` names the variables that ranks
/// get from us besides their own. Reads `ranks`, `hosts` and `remote_shell` of the placement.
int start_ranks_on_hosts(const RankPlaces& placement,
                         const std::vector<std::string>& program,
                         const std::vector<std::string>& exports);

/// A host's share, told by start_ranks_on_hosts. UserError when nothing of that is on standard
/// input, or the folder that it names is not here.
int start_ranks_as_told();

}  // namespace isoflop
