// How ranks that no MPI started find each other: by torchrun's names in the environment or Slurm's,
// a store at the first rank (tcp_store.hpp), and then a connection for each pair.
#pragma once
#include "parallel/tcp_store.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct TcpPlace {
  int rank = 0, size = 1;
  std::string host;  // of the first rank, as the others reach it
  uint16_t port = 0;
};

/// RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT; or, of an srun without MPI, Slurm's. None when
/// some are missing. UserError when they cannot be.
std::optional<TcpPlace> tcp_place();

struct TcpSeat {
  int socket = -1;  // to that rank; -1: oneself
  std::string host;
};

struct TcpMeeting {
  std::vector<TcpSeat> seats;              // by rank
  std::unique_ptr<TcpStoreServer> server;  // of the first rank, until all have met
};

/// Collective. Connects all pairs; whoever connects shows a key that only the store gives. IoError
/// names who has not come within `patience`; UserError when ranks differ in how many they are.
TcpMeeting tcp_meet(const TcpPlace& place, std::chrono::milliseconds patience);

}  // namespace isoflop
