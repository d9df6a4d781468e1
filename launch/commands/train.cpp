#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/ranks.hpp"
#include "launch/train_run.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

struct Options {
  ConfigArguments words;
  TrainRequest request;
};

ExitCode run(Options& options, const Context& context) {
  TrainRequest& request = options.request;
  request.file = options.words.file();
  request.overrides = options.words.overrides();
  request.texts = options.words.others();
  return on_all_ranks(context, [&](World& world, const Context& ours) {
    if (request.dry_run) {
      const RankDevices devices = share_devices(world.ranks(), gpu::find_devices());
      if (world.ranks().is_root()) ours.result(dry_run(request, ours, world, devices));
      return ExitCode::kDone;
    }
    const TrainOutcome outcome = train(request, ours, &world);
    ours.result(outcome.json);
    return outcome.code;
  });
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  TrainRequest& request = options->request;
  app.add_option("run", options->words.words,
                 "run.toml, key=value changes, and with --budget the text");
  app.add_option("--preset", options->words.preset, "start from a named shape");
  app.add_option("--out", request.out, "run folder; default runs/NAME");
  app.add_option("--resume", request.resume,
                 "auto: go on from the newest good checkpoint, or start; or a checkpoint's folder");
  app.add_option("--anneal-from", request.anneal_from,
                 "branch off a wsd or constant run at this checkpoint and let the rate fall");
  app.add_option("--budget", request.budget,
                 "time to spend, such as 30m: chooses model, batch, rate and steps for the text");
  app.add_option("--profile", request.profile,
                 "write what the time goes to into this file, for ui.perfetto.dev");
  app.add_flag("--dry-run", request.dry_run,
               "say what would be done: parameters, steps, memory, schedule");
  app.add_flag("--extend", request.extend,
               "go on longer than the run was planned for (schedule.steps=N with --resume)");
  app.add_flag("--new-kernel-plan", request.accept_new_kernel_plan,
               "go on although this machine's kernels give other bits");
  app.add_option(
         "--skip", request.skip,
         "a check to leave out: coordcheck, of small models of the family before a large run")
      ->check(one_of({"coordcheck"}))
      ->allow_extra_args(false);
  app.add_option("--coordcheck-above", request.coordcheck_above,
                 "FLOPs of a run that is large under mup and completep; default 1e18")
      ->check(in_range(0.0, 1e30));
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command train_command() {
  return {"train", "train a model",
          "isoflop train run.toml optimizer.lr=3e-3 --out runs/first\n  isoflop train --budget 30m "
          "book.txt\n  isoflop train run.toml --resume auto\n  mpirun -n 4 isoflop train run.toml",
          declare};
}

}  // namespace isoflop
