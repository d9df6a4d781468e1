// Ranks that compute on GPUs: each takes one for itself, and they talk over NCCL.
#pragma once
#include "cuda/backend.hpp"
#include "launch/machine.hpp"
#include "parallel/communicator.hpp"

#include <memory>

namespace isoflop {

/// The GPUs that a rank sees, and the ranks that see the same ones, itself included.
struct RankDevices {
  int devices = 0;
  int ranks = 1;
  int place = 0;  // ours among them
};
/// Collective. `report`: this rank's own.
RankDevices share_devices(Communicator& ranks, const gpu::DeviceReport& report);

/// Makes the GPU of our place the one to compute on. UserError when there are fewer of them than
/// ranks, or no NCCL. Without any, making a backend says why.
void take_device(const RankDevices& devices);

/// The ranks once more, for messages in the memory of their GPUs; null where they have none, or
/// where there is one rank alone. Collective. The machine outlives it.
std::unique_ptr<Communicator> make_wire(Machine& machine, Communicator& ranks);

}  // namespace isoflop
