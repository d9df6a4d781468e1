// A communicator over NCCL: memory of GPUs, one device a rank (NCCL refuses two ranks on one).
// Where a message's memory is the host's, it is copied to the device and back on the way, and
// wait() is the host's. The library is looked for when it is first used, so a program that was
// built with it starts without it, too.
//
// The id of a group is made by one rank and passed on to the others by whatever they have: MPI
// (Communicator::broadcast_text) or a TcpStore. Messages of one group go strictly in the order they
// are started; so an exchange that only receives holds up what is started behind it until the other
// side has sent. Ranks for which that may be a circle, as stages of a pipeline, take a group for
// each direction. The error that NCCL reports at any time of any rank is looked for by whoever
// waits.
#pragma once
#include "parallel/communicator.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace isoflop {

/// "NCCL 2.28.9", or why there is none: "off" when the program was built without.
std::string nccl_version();
/// UserError when there is none.
void require_nccl();

/// A new group's id: opaque bytes. IoError with NCCL's own words.
std::string nccl_group_id();

/// Collective over the ranks that have `id`, which come within `patience`. Uses the device that is
/// current. Messages in its memory, of this group and of those split from it, keep the order of
/// `queue` (Backend::queue, which outlives them all): they come behind what was queued before, and
/// it waits for them rather than the host. Null: the host does, once that memory is at rest.
/// IoError with NCCL's own words, UserError when the program was built without NCCL or the library
/// is not there.
std::unique_ptr<Communicator> make_nccl(const std::string& id,
                                        int rank,
                                        int size,
                                        std::chrono::milliseconds patience,
                                        void* queue = nullptr);

/// Devices that CUDA sees; 0 without a driver.
int nccl_devices();

}  // namespace isoflop
