// A command that several processes carry out together.
#pragma once
#include "launch/context.hpp"
#include "parallel/communicator.hpp"

#include <functional>

namespace isoflop {

/// Calls `work` on every rank that mpirun or srun started, with a context that speaks on the first
/// one only. An error ends all ranks: it is said once, with the name of the rank unless all of them
/// failed alike, and nobody is left waiting for the one that failed. Returns the exit code.
ExitCode on_all_ranks(const Context& context,
                      const std::function<ExitCode(World& world, const Context& context)>& work);

}  // namespace isoflop
