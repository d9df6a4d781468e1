// A training run from the command line's words to its end: what `train` and `quickstart` share.
#pragma once
#include "core/error.hpp"
#include "core/file.hpp"
#include "launch/context.hpp"
#include "launch/coord_gate.hpp"
#include "launch/machine.hpp"
#include "launch/rank_devices.hpp"
#include "parallel/communicator.hpp"
#include "pretrain/train/run.hpp"
#include "pretrain/train/trainer.hpp"
#include "scaling/budget.hpp"

#include <nlohmann/json.hpp>
#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct TrainRequest {
  std::optional<fs::path> file;
  std::vector<std::string> overrides;  // key=value
  std::vector<std::string> texts;      // with a budget: what to learn from
  std::string out;
  std::string resume;       // "", "auto" or a checkpoint
  std::string anneal_from;  // a checkpoint to branch off from, or empty
  std::string budget;
  double tokens_per_parameter = kTokensPerParameter;  // of a budget
  bool dry_run = false;
  bool accept_new_kernel_plan = false;
  bool extend = false;                  // a resumed run may become longer
  std::string profile;                  // file for a trace; empty = none
  std::vector<std::string> skip;        // checks to leave out: "coordcheck"
  double coordcheck_above = kLargeRun;  // FLOPs of a run that has to pass it first
};

struct TrainOutcome {
  ExitCode code = ExitCode::kDone;
  nlohmann::ordered_json json;
  fs::path folder;
};

/// The parameters of the model that the run continues from; empty when it begins anew. Borrows
/// both.
Initializer initializer_for(const Run& run, Machine& machine);

/// What the request's words say, before data or folders are looked at. A resumed run without a file
/// of its own goes on with what it stored.
RunConfig read_config(const TrainRequest& request, Origins& origins);
fs::path run_folder(const TrainRequest& request, const RunConfig& config);

/// What `compute` means to one of several ranks: a GPU of `devices` is taken where it asks for one,
/// "auto" threads are our part of the cores that the ranks of this host share. UserError when there
/// are not enough GPUs.
ComputeConfig for_ranks(ComputeConfig compute, World* world, const RankDevices& devices);

/// Slots that are auto and too few for so many ranks become more. UserError when the ranks do not
/// fit the grid.
void settle_slots(RunConfig& config, int ranks);
/// UserError unless the ranks fit the grid, the stages the blocks, and the copies the slots, and
/// unless they can share matrices where the grid says so.
void require_grid(const Run& run, int ranks);

/// The run folder of the request, whose words are read for it; UserError when they are wrong, or
/// when the folder holds a run that is not to be resumed.
fs::path folder_of(const TrainRequest& request);

/// Runs to the end or until a signal asks to stop. Prints the plan first. Called by every rank of
/// `world` (null: alone): the first one decides what is to be decided and makes the run folder,
/// which all of them must see, and tells the others.
TrainOutcome train(const TrainRequest& request, const Context& context, World* world = nullptr);

/// The plan alone, for the ranks of `world`; touches no folder.
nlohmann::ordered_json dry_run(const TrainRequest& request,
                               const Context& context,
                               World& world,
                               const RankDevices& devices);

}  // namespace isoflop
