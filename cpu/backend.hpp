// The CPU backend in fp32: oneDNN's sgemm on tiles of our own cutting, Highway for the rest.
//
// One file per op family. Work is cut by shape alone into tiles, the team's threads pick tiles,
// sums over rows are made per fixed block of rows and then added in block order: the bits of a
// result are the same for any number of threads.
#pragma once
#include "core/threads.hpp"
#include "ops/backend.hpp"

#include <memory>

namespace isoflop {

/// The team must outlive the backend. One backend serves one calling thread at a time.
std::unique_ptr<Backend> make_cpu_backend(ThreadTeam& team);

}  // namespace isoflop
