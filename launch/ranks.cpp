#include "launch/ranks.hpp"

#include "launch/failure.hpp"
#include "launch/supervise/heartbeat.hpp"
#include "parallel/pulse.hpp"
#include "parallel/wire_ledger.hpp"

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

namespace isoflop {

namespace {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

/// Of the exception in hand.
bool is_lost_rank() {
  try {
    throw;
  } catch (const LostRank&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// Tells the other ranks, says what happened unless one before us does, and ends those that have
/// not failed themselves.
ExitCode end_together(World& world, const Failure& failure, Heartbeat* heartbeat) {
  // Who watches us knows itself that another rank is gone, and looks for the first complaint.
  if (heartbeat) heartbeat->end(failure.code, is_lost_rank() ? "" : failure.text);
  const FailureVote vote = world.failed();
  if (vote.lowest && !failure.text.empty()) {
    const std::string who = vote.everyone
                                ? ""
                                : fmt::format("rank {} of {} on {}: ", world.ranks().rank(),
                                              world.ranks().size(), host_name());
    write_stderr("isoflop: " + who + failure.text + "\n");
  }
  if (!vote.everyone) {
    // Whoever speaks ends the others; should that rank be gone, too, we do.
    if (!vote.lowest) std::this_thread::sleep_for(std::chrono::seconds(5));
    world.abort(static_cast<int>(failure.code));
  }
  return failure.code;
}

const char* first_set(std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const char* const text = std::getenv(name)) return text;
  return nullptr;
}

/// torchrun's names, for programs that the ranks start. Where they are set already they must say
/// what is: a rank of 8 that trains alone would be one of eight that do.
void agree_with_torchrun(const Communicator& ranks) {
  const char* const rank = std::getenv("RANK");
  const char* const size = std::getenv("WORLD_SIZE");
  if (rank && size && std::atoi(size) != ranks.size())
    fail_user(
        "WORLD_SIZE is {} and RANK {}, but this is one of {} ranks; start the ranks by isoflop "
        "launch, mpirun or srun, set MASTER_ADDR and MASTER_PORT as well, or unset both",
        size, rank, ranks.size());
  const auto set = [](const char* name, const std::string& value) {
    ::setenv(name, value.c_str(), 0);
  };
  set("RANK", std::to_string(ranks.rank()));
  set("WORLD_SIZE", std::to_string(ranks.size()));
  if (const char* const local = first_set({"OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID"}))
    set("LOCAL_RANK", local);
  if (const char* const local = first_set({"OMPI_COMM_WORLD_LOCAL_SIZE"}))
    set("LOCAL_WORLD_SIZE", local);
}

}  // namespace

ExitCode on_all_ranks(const Context& context,
                      const std::function<ExitCode(World&, const Context&)>& work) {
  Pulse::watch_this_thread();
  const std::unique_ptr<Heartbeat> heartbeat = heartbeat_if_supervised();
  std::unique_ptr<World> world;
  try {
    world = make_world();
  } catch (...) {
    if (heartbeat) heartbeat->end(current_failure().code, current_failure().text);
    throw;
  }
  const Communicator& ranks = world->ranks();
  Context ours = context;
  if (!ranks.is_root()) ours.mute = true;
  try {
    agree_with_torchrun(ranks);
    const ExitCode code = work(*world, ours);
    if (heartbeat) heartbeat->end(code, "");
    return code;
  } catch (...) {
    const Failure failure = current_failure();
    if (ranks.size() > 1) return end_together(*world, failure, heartbeat.get());
    if (heartbeat) heartbeat->end(failure.code, failure.text);
    throw;
  }
}

}  // namespace isoflop
