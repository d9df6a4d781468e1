// The check before a launch, as every rank carries it out: who is there and with what, whether all
// links carry what they should, whether every device computes the same bits and as fast, and
// whether a step of all ranks is the step of one.
#pragma once
#include "launch/check/report.hpp"
#include "launch/train_run.hpp"

namespace isoflop {

/// Collective over `world`. Reads the run that `request` describes on every rank by itself, builds
/// and writes nothing. `seconds` go to products and memory traffic. The first rank prints what
/// was found; kDone, kGate or kIo (report.hpp) at every rank.
ExitCode check_ranks(const TrainRequest& request,
                     double seconds,
                     const Context& context,
                     World& world);

/// Parameters after two steps on random tokens, as hashes: of all ranks together, and of the first
/// rank alone, with the run's widths, slots and grid, but no more blocks than it takes and one
/// sequence a micro-batch. Collective; known to the first rank. `wire` as TrainStep's.
void compare_steps(const RunConfig& config,
                   Backend& backend,
                   Communicator& ranks,
                   Communicator* wire,
                   CheckReport& report);

}  // namespace isoflop
