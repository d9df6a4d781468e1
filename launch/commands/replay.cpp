#include "pretrain/train/replay.hpp"

#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/train_run.hpp"
#include "pretrain/train/prepare.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

struct Options {
  std::string run;
  int64_t step = 0;
};

/// As the steps after `from` were configured: a checkpoint carries the config of what follows it.
RunConfig config_of(const fs::path& folder,
                    const std::optional<CheckpointRef>& from,
                    Origins& origins) {
  const fs::path file = (from ? from->folder : folder) / "config.toml";
  if (!fs::exists(file))
    fail_user("{} is not a run folder: it has no config.toml", folder.string());
  return load_config(file, {}, origins);
}

void compare_kernels(const TrainState& state, const Machine& machine, const Context& context) {
  const std::string now = kernel_plan_of(machine, state.kernel_plan);
  if (!state.kernel_plan.empty() && state.kernel_plan != now)
    context.note(
        "this machine computes with other kernels ({}) than the run ({}): expect "
        "differences in the last bits",
        now, state.kernel_plan);
}

nlohmann::ordered_json report_json(const ReplayReport& report) {
  nlohmann::ordered_json json = {{"step", report.step},
                                 {"from", report.from},
                                 {"identical", report.difference.empty()},
                                 {"difference", report.difference},
                                 {"compared", report.compared},
                                 {"loss", nullptr},
                                 {"grad_norm", nullptr},
                                 {"hash", report.hash}};
  if (report.loss) json["loss"] = *report.loss;
  if (report.grad_norm) json["grad_norm"] = *report.grad_norm;
  return json;
}

ExitCode run(const Options& options, const Context& context) {
  const fs::path folder = options.run;
  if (!fs::is_directory(folder)) fail_user("{} is not a run folder", folder.string());
  std::vector<std::string> warnings;
  const std::optional<CheckpointRef> newest = find_latest(folder, warnings);
  for (const std::string& warning : warnings) context.note("{}", warning);
  const std::optional<CheckpointRef> from = find_newest_up_to(folder, options.step - 1);
  Origins origins;
  const RunConfig config = config_of(folder, from, origins);
  const TrainState state = newest ? load_state(*newest) : TrainState();
  Machine machine(as_planned(config.compute, state.kernel_plan));
  follow_choices(*machine.backend, state.kernel_plan);
  const Run prepared = open_run(config, origins, folder);
  compare_kernels(state, machine, context);
  if (config.parallel.tp > 1)
    context.note(
        "{} ranks shared the run's matrices, which changes how sums are rounded, and this is one: "
        "expect differences in the last bits",
        config.parallel.tp);
  context.note("replaying step {} from {}", options.step,
               from ? from->folder.string() : std::string("the start: no checkpoint before it"));
  const ReplayReport report =
      replay(prepared, *machine.backend, from, state, initializer_for(prepared, machine),
             options.step, [&](int64_t step) {
               if (step % 100 == 0) context.note("step {}", step);
             });
  if (report.difference.empty())
    context.print("same bits: step {} and the ones before it from step {} on, {} values compared",
                  report.step, report.from + 1, report.compared);
  else
    context.print("different: {}", report.difference);
  context.result(report_json(report));
  return report.difference.empty() ? ExitCode::kDone : ExitCode::kBug;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("run", options->run, "run folder")->required();
  app.add_option("--step", options->step, "step, as metrics.jsonl counts them: from 1")
      ->required()
      ->check(in_range(int64_t{1}, int64_t{1} << 53));
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command replay_command() {
  return {"replay", "recompute a step of a run and compare its bits; exit 1 when they differ",
          "isoflop replay runs/first --step 1200", declare};
}

}  // namespace isoflop
