#include "launch/ranks.hpp"

#include "launch/failure.hpp"
#include "launch/supervise/heartbeat.hpp"
#include "parallel/pulse.hpp"

#include <unistd.h>

#include <chrono>
#include <thread>

namespace isoflop {

namespace {

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

/// Tells the other ranks, says what happened unless one before us does, and ends those that have
/// not failed themselves.
ExitCode end_together(World& world, const Failure& failure, Heartbeat* heartbeat) {
  if (heartbeat) heartbeat->end(failure.code, failure.text);
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
