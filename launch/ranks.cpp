#include "launch/ranks.hpp"

#include "launch/failure.hpp"

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
ExitCode end_together(World& world, const Failure& failure) {
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
  const std::unique_ptr<World> world = make_world();
  if (world->ranks().size() == 1) return work(*world, context);
  Context ours = context;
  if (!world->ranks().is_root()) ours.mute = true;
  try {
    return work(*world, ours);
  } catch (...) {
    return end_together(*world, current_failure());
  }
}

}  // namespace isoflop
