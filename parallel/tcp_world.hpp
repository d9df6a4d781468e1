// The ranks that found each other over TCP, where there is no MPI.
#pragma once
#include "parallel/communicator.hpp"
#include "parallel/tcp_meeting.hpp"

namespace isoflop {

/// Collective. IoError and UserError as tcp_meet's.
std::unique_ptr<World> make_tcp_world(const TcpPlace& place,
                                      std::chrono::milliseconds patience = std::chrono::minutes(2));

}  // namespace isoflop
