// launch: ranks on one or many hosts, started, watched and started again (launch/supervise).
#include "core/threads.hpp"
#include "launch/check/check.hpp"
#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/ranks.hpp"
#include "launch/simulate_run.hpp"
#include "launch/supervise/child.hpp"
#include "launch/supervise/heartbeat.hpp"
#include "launch/supervise/self_starter.hpp"
#include "launch/supervise/slurm.hpp"
#include "launch/supervise/supervisor.hpp"
#include "launch/train_run.hpp"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdlib>
#include <memory>

namespace isoflop {

namespace {

struct Options {
  ConfigArguments words;
  TrainRequest request;  // of what it shares with train
  int ranks = 0;
  std::string hosts, hostfile, remote_shell, network, starter = "auto";
  int spares = 0, min_nodes = 1, max_restarts = 3;
  double patience = 60, grace = 120;
  bool dry_run = false;
  bool slurm = false;
  std::string emit;
  int nodes = 1;
  std::vector<std::string> sbatch;
  int probe = -1, start_here = 0;
  bool start_told = false;
  std::vector<std::string> exports;
  bool check = false;
  double check_seconds = 60;
  SimulateOptions simulate;
};

/// The job's script, whose `launch` is this one inside Slurm.
std::string script_of(const Options& options, const LaunchPlan& plan) {
  const std::vector<std::string> common = {"--starter",
                                           "srun",
                                           "-n",
                                           std::to_string(plan.placement.ranks),
                                           "--patience",
                                           fmt::format("{}", plan.patience),
                                           "--grace",
                                           fmt::format("{}", plan.grace),
                                           "--max-restarts",
                                           std::to_string(plan.max_restarts)};
  const auto words = [&](const std::vector<std::string>& train) {
    std::vector<std::string> all = {plan.program, "launch"};
    all.insert(all.end(), train.begin() + 1, train.end());
    all.insert(all.end(), common.begin(), common.end());
    return all;
  };
  return slurm_script({.name = plan.run.filename().string(),
                       .ranks = plan.placement.ranks,
                       .nodes = options.nodes,
                       .grace = plan.grace,
                       .flags = options.sbatch,
                       .run = plan.run,
                       .folder = fs::current_path().string(),
                       .first_words = words(plan.words),
                       .resume_words = words(plan.resume_words)});
}

ExitCode submit(const Options& options, const LaunchPlan& plan, const Context& context) {
  const std::string script = script_of(options, plan);
  const fs::path file = plan.run / "logs" / "job.sbatch";
  if (!options.emit.empty() || options.dry_run) {
    if (context.json)
      context.result({{"script", script}, {"run", plan.run.string()}});
    else
      context.print_raw(script);
    if (options.dry_run && options.emit.empty())
      context.note("would run: sbatch {}", file.string());
    return ExitCode::kDone;
  }
  require_writable_directory(file.parent_path());
  write_file_atomically(file, script);
  const CommandResult result = run_all({{{}, {"sbatch", file.string()}}}, 60, [] {})[0];
  if (result.code != 0)
    fail_user("sbatch {} ended with {}: {}", file.string(), result.code, result.said);
  context.print("{}", result.said.substr(0, result.said.find('\n')));
  context.result({{"script", file.string()}, {"said", result.said}, {"run", plan.run.string()}});
  return ExitCode::kDone;
}

bool in_slurm_job() {
  return std::getenv("SLURM_JOB_ID") != nullptr;
}

int slurm_tasks() {
  const char* const text = std::getenv("SLURM_NTASKS");
  return text ? std::atoi(text) : 0;
}

RankPlaces::Starter starter_of(const Options& options) {
  const bool named = !options.hosts.empty() || !options.hostfile.empty();
  if (options.starter == "mpirun") return RankPlaces::Starter::mpirun;
  if (options.starter == "srun" || options.slurm || !options.emit.empty())
    return RankPlaces::Starter::srun;
  if (options.starter == "self") return RankPlaces::Starter::self;
  if (in_slurm_job() && !named) return RankPlaces::Starter::srun;
  const bool mpi = mpi_version() != "off" && !find_program("mpirun").empty();
  return mpi ? RankPlaces::Starter::mpirun : RankPlaces::Starter::self;
}

RankPlaces places_of(const Options& options) {
  if (!options.hosts.empty() && !options.hostfile.empty())
    fail_user("--hosts and --hostfile both name the hosts; give one of them");
  RankPlaces placement;
  placement.starter = starter_of(options);
  placement.remote_shell = options.remote_shell;
  placement.network = options.network;
  placement.root = ::geteuid() == 0;
  if (!options.hosts.empty()) placement.hosts = parse_hosts(options.hosts);
  if (!options.hostfile.empty()) placement.hosts = read_hostfile(options.hostfile);
  const int count = static_cast<int>(placement.hosts.size());
  if (options.spares > 0 && options.spares >= count)
    fail_user("--spares {} of {} hosts leaves none to train on", options.spares, count);
  if (placement.remote() && options.min_nodes > count - options.spares)
    fail_user("--min-nodes {} is more than the {} hosts without spares", options.min_nodes,
              count - options.spares);
  placement.ranks = options.ranks;
  if (placement.remote()) {
    const int slots = slots_of(HostPool(placement.hosts, options.spares).active());
    if (options.ranks > slots)
      fail_user(
          "-n {} is more than the {} slots of the hosts; raise the numbers behind their names",
          options.ranks, slots);
    if (options.ranks == 0) placement.ranks = slots;
  } else if (placement.starter == RankPlaces::Starter::srun) {
    if (options.ranks == 0) placement.ranks = slurm_tasks();
    if (placement.ranks == 0) fail_user("how many ranks? -n N, or a Slurm job with --ntasks");
  } else {
    if (options.ranks == 0)
      fail_user("how many ranks, and where? -n 8, --hosts a:8,b:8 or --hostfile F");
    placement.oversubscribed = options.ranks > usable_cores();
  }
  return placement;
}

/// What the ranks are started with: `train` and the words that are its own.
std::vector<std::string> train_words(const Options& options,
                                     const fs::path& run,
                                     const Context& context) {
  std::vector<std::string> words = {"train"};
  words.insert(words.end(), options.words.words.begin(), options.words.words.end());
  if (!options.words.preset.empty()) words.insert(words.end(), {"--preset", options.words.preset});
  words.insert(words.end(), {"--out", run.string()});
  const TrainRequest& request = options.request;
  if (!request.resume.empty()) words.insert(words.end(), {"--resume", request.resume});
  if (request.extend) words.push_back("--extend");
  if (request.accept_new_kernel_plan) words.push_back("--new-kernel-plan");
  for (const std::string& check : request.skip) words.insert(words.end(), {"--skip", check});
  if (context.json) words.push_back("--json");
  if (context.quiet) words.push_back("--quiet");
  return words;
}

LaunchPlan plan_of(Options& options, const Context& context) {
  const TrainRequest& request = options.request;
  LaunchPlan plan;
  plan.run = folder_of(request);
  plan.placement = places_of(options);
  plan.program = fs::read_symlink("/proc/self/exe").string();
  plan.words = train_words(options, plan.run, context);
  plan.resume_words = plan.words;
  // Once begun, a run goes on with the config that it has stored. A start that resumes says the
  // same again, since its changes may not be stored yet.
  if (request.resume.empty()) {
    plan.resume_words = {"train", "--resume", "auto", "--out", plan.run.string()};
    for (const std::string& check : request.skip)
      plan.resume_words.insert(plan.resume_words.end(), {"--skip", check});
    if (context.json) plan.resume_words.push_back("--json");
    if (context.quiet) plan.resume_words.push_back("--quiet");
  }
  plan.spares = options.spares;
  plan.min_hosts = options.min_nodes;
  plan.max_restarts = options.max_restarts;
  plan.patience = options.patience;
  plan.grace = options.grace;
  return plan;
}

/// The ranks of a launch do the checking: the same command, started as one of them.
bool is_rank() {
  return launched_ranks() > 1 || std::getenv(kSupervisorVariable);
}

LaunchPlan check_plan(const Options& options, LaunchPlan plan) {
  plan.words[0] = "launch";
  plan.words.push_back("--check");
  plan.words.insert(plan.words.end(),
                    {"--check-seconds", fmt::format("{}", options.check_seconds)});
  plan.once = true;
  plan.patience = std::max(plan.patience, options.check_seconds);
  plan.grace = 1;  // there is nothing to save
  plan.run = fs::temp_directory_path() / fmt::format("isoflop-check-{}", ::getpid());
  return plan;
}

ExitCode check(const Options& options, const LaunchPlan& plan, const Context& context) {
  if (options.slurm || !options.emit.empty())
    fail_user("--check looks at hosts that are there: inside the job, or by --hosts");
  const ExitCode code = Supervisor(plan, context).run();
  std::error_code ignored;
  if (code == ExitCode::kDone) fs::remove_all(plan.run, ignored);
  return code;
}

/// What the supervisor starts where it starts no mpirun, and what that starts on hosts.
ExitCode start_ranks(const Options& options) {
  if (options.start_told) return static_cast<ExitCode>(start_ranks_as_told());
  const std::vector<std::string>& program = options.words.words;
  if (program.empty())
    fail_user("--start-here is how isoflop launch starts ranks; it is not for people");
  if (options.hosts.empty())
    return static_cast<ExitCode>(start_ranks_here(options.start_here, program));
  RankPlaces placement;
  placement.ranks = options.start_here;
  placement.hosts = parse_hosts(options.hosts);
  placement.remote_shell = options.remote_shell;
  return static_cast<ExitCode>(start_ranks_on_hosts(placement, program, options.exports));
}

ExitCode run(Options& options, const Context& context) {
  if (options.start_here > 0 || options.start_told) return start_ranks(options);
  TrainRequest& request = options.request;
  request.file = options.words.file();
  request.overrides = options.words.overrides();
  request.texts = options.words.others();
  if (options.check && is_rank())
    return on_all_ranks(context, [&](World& world, const Context& ours) {
      return check_ranks(request, options.check_seconds, ours, world);
    });
  if (options.probe >= 0) {
    const char* const address = std::getenv(kSupervisorVariable);
    if (!address) fail_user("--probe is how isoflop launch asks a host; it is not for people");
    answer_probe(SupervisorAddress::parse(address), options.probe, options.network);
    return ExitCode::kDone;
  }
  if (options.simulate.ranks > 0) return simulate_run(request, options.simulate, context);
  LaunchPlan plan = plan_of(options, context);
  if (options.check) plan = check_plan(options, plan);
  if (options.check && !options.dry_run) return check(options, plan, context);
  if (options.slurm || !options.emit.empty()) return submit(options, plan, context);
  if (options.dry_run) {
    const std::string line = first_line(plan).text();
    context.print("{}", line);
    context.result(
        {{"command", line}, {"run", plan.run.string()}, {"ranks", plan.placement.ranks}});
    return ExitCode::kDone;
  }
  return Supervisor(plan, context).run();
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  TrainRequest& request = options->request;
  app.add_option("run", options->words.words, "run.toml and key=value changes");
  app.add_option("--preset", options->words.preset, "start from a named shape");
  app.add_option("--out", request.out, "run folder, which all hosts must see; default runs/NAME");
  app.add_option("--resume", request.resume,
                 "auto: go on from the newest good checkpoint, or start; or a checkpoint's folder");
  app.add_flag("--extend", request.extend,
               "go on longer than the run was planned for (schedule.steps=N with --resume)");
  app.add_flag("--new-kernel-plan", request.accept_new_kernel_plan,
               "go on although this machine's kernels give other bits");
  app.add_option("--skip", request.skip, "a check to leave out, as in train: coordcheck")
      ->check(one_of({"coordcheck"}))
      ->allow_extra_args(false);
  app.add_option("-n,--ranks", options->ranks, "ranks; default all slots of the hosts")
      ->check(in_range(1, 1 << 20));
  app.add_option("--hosts", options->hosts, "hosts and ranks on each: a:8,b:8");
  app.add_option("--hostfile", options->hostfile, "lines HOST slots=8");
  app.add_option("--spares", options->spares,
                 "the last K hosts wait until another one fails and then take its place")
      ->check(in_range(0, 1 << 16));
  app.add_option("--min-nodes", options->min_nodes, "give up with fewer hosts than this")
      ->check(in_range(1, 1 << 16));
  app.add_option("--max-restarts", options->max_restarts,
                 "give up after so many failures without a new checkpoint")
      ->check(in_range(0, 1 << 20));
  app.add_option(
         "--patience", options->patience,
         "seconds that a step may take at least before a rank counts as hung; one that says "
         "nothing for half of it does, too")
      ->check(in_range(1.0, 86400.0));
  app.add_option("--grace", options->grace, "seconds to save in when asked to stop, until force")
      ->check(in_range(1.0, 86400.0));
  app.add_option("--rsh", options->remote_shell,
                 "how to run a command on a host: SHELL HOST COMMAND; default ssh");
  app.add_option("--network", options->network,
                 "network between the hosts, such as 10.0.0.0/8, when they have several");
  app.add_option("--starter", options->starter,
                 "auto: srun inside a Slurm job, else mpirun, or where there is none self: we "
                 "start the ranks, and they talk over TCP")
      ->check(one_of({"auto", "mpirun", "srun", "self"}));
  app.add_flag("--dry-run", options->dry_run, "print the command line and start nothing");
  app.add_flag(
      "--slurm", options->slurm,
      "write RUN/logs/job.sbatch and submit it; the job saves and queues itself again when "
      "its time is over or it is preempted");
  app.add_option("--emit", options->emit, "sbatch: print the job's script instead")
      ->check(one_of({"sbatch"}));
  app.add_option("--nodes", options->nodes, "of the Slurm job")->check(in_range(1, 1 << 16));
  app.add_option("--sbatch", options->sbatch,
                 "a further line of the script: --sbatch=--time=24:00:00; may be repeated")
      ->allow_extra_args(false);
  app.add_flag("--check", options->check,
               "start nothing: see whether all ranks reach each other, have the same program, "
               "config and data, compute the same bits as fast, and take the step of one rank");
  app.add_option("--check-seconds", options->check_seconds,
                 "of computing in --check, to find slow and erring ranks by")
      ->check(in_range(0.1, 86400.0));
  app.add_option("--simulate", options->simulate.ranks,
                 "start nothing: what a step of so many ranks would take, by a clock that goes "
                 "through the run's own schedules, buckets and slots")
      ->check(in_range(1, 1 << 16));
  app.add_option("--hardware", options->simulate.hardware,
                 "of --simulate: a name such as 8x8xh100, or a file of bench comm --json");
  app.add_option("--timeline", options->simulate.timeline,
                 "of --simulate: write the steps into this file, for ui.perfetto.dev");
  app.add_option("--probe", options->probe)->hidden();
  app.add_option("--start-here", options->start_here)->hidden();
  app.add_flag("--start-told", options->start_told, "")->hidden();
  app.add_option("-x", options->exports)->allow_extra_args(false)->hidden();
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command launch_command() {
  return {"launch", "train on many ranks and hosts, watched and restarted",
          "isoflop launch -n 4 run.toml --out runs/first\n  isoflop launch --hosts a:8,b:8,c:8 "
          "--spares 1 run.toml\n  isoflop launch --hostfile hosts run.toml --check\n  isoflop "
          "launch --slurm -n 64 --nodes 8 --sbatch=--time=24:00:00 run.toml",
          declare};
}

}  // namespace isoflop
