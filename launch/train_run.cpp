#include "launch/train_run.hpp"

#include "datasets/tokenizer/spec.hpp"
#include "eval/generate.hpp"
#include "launch/anneal.hpp"
#include "launch/bench_step.hpp"
#include "launch/program.hpp"
#include "launch/run_card.hpp"
#include "launch/run_lock.hpp"
#include "launch/signals.hpp"
#include "launch/supervise/beat.hpp"
#include "launch/train_plan.hpp"
#include "parallel/pulse.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/quantity.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model_source.hpp"
#include "pretrain/train/data_manifest.hpp"
#include "pretrain/train/prepare.hpp"
#include "pretrain/train/profiling_backend.hpp"
#include "pretrain/train/rehearse.hpp"
#include "pretrain/train/resume.hpp"
#include "report/environment.hpp"
#include "report/humanize.hpp"

#include <algorithm>
#include <cstdlib>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostSpans = size_t{1} << 18;  // of messages, under --profile

void require_new_or_resumed(const TrainRequest& request, const fs::path& folder) {
  if (holds_run(folder) && request.resume.empty())
    fail_user("{} holds a run already; go on with it by --resume auto, or choose another --out",
              folder.string());
}

std::optional<CheckpointRef> checkpoint_to_resume(const TrainRequest& request,
                                                  const fs::path& folder,
                                                  const Context& context) {
  if (request.resume.empty()) return std::nullopt;
  std::vector<std::string> warnings;
  std::optional<CheckpointRef> found;
  if (request.resume == "auto")
    found = find_latest(folder, warnings);
  else
    found = open_checkpoint(request.resume, warnings);
  for (const std::string& warning : warnings) context.note("{}", warning);
  if (!found) context.note("no checkpoint in {} yet: starting at step 0", folder.string());
  return found;
}

std::optional<CheckpointRef> checkpoint_to_branch(const TrainRequest& request,
                                                  const Context& context) {
  if (request.anneal_from.empty()) return std::nullopt;
  if (request.file || !request.texts.empty() || !request.resume.empty() ||
      !request.budget.empty() || request.out.empty())
    fail_user(
        "--anneal-from CHECKPOINT goes on with that run's own config in a folder of its own: name "
        "it by --out, without run.toml, texts, --resume or --budget");
  std::vector<std::string> warnings;
  CheckpointRef trunk = open_checkpoint(request.anneal_from, warnings);
  for (const std::string& warning : warnings) context.note("{}", warning);
  return trunk;
}

RunConfig config_of(const TrainRequest& request,
                    const std::optional<CheckpointRef>& trunk,
                    Origins& origins) {
  if (!trunk) return read_config(request, origins);
  return annealed_config(*trunk, load_state(*trunk), request.overrides, origins);
}

/// What today's config does differently, said key by key.
std::vector<std::string> changes_since(const CheckpointRef& checkpoint,
                                       const TrainState& state,
                                       const Run& run,
                                       const TrainRequest& request,
                                       const Context& context) {
  Origins ignored;
  RunConfig stored =
      parse_config(state.config, (checkpoint.folder / "config.toml").string(), {}, ignored);
  stored.compute = as_planned(stored.compute, state.kernel_plan);  // earlier versions left "auto"
  const std::vector<std::string> changes =
      changes_on_resume(stored, run, checkpoint.step(), request.extend);
  if (!changes.empty()) context.note("changed since step {}:", checkpoint.step());
  for (const std::string& change : changes) context.note("  {}", change);
  return changes;
}

/// What the machine took instead of "auto" belongs to the run from here on.
void settle_path(RunConfig& config,
                 Origins& origins,
                 const Machine& machine,
                 const Context& context) {
  print_choice(machine.choice, context);
  const ComputeConfig asked = config.compute;
  config.compute = with_choice(config.compute, machine.choice);
  if (asked.dtype == "auto") origins.of["compute.dtype"] = "measured";
  if (asked.bf16_kernel != config.compute.bf16_kernel)
    origins.of["compute.bf16_kernel"] = "measured";
}

/// The dial: turns a time into a model, and says first what it buys.
void spend_budget(RunConfig& config,
                  double tokens_per_parameter,
                  const Machine& machine,
                  const Context& context) {
  const double seconds = parse_seconds(config.schedule.budget, "schedule.budget");
  const BudgetChoice choice = choose_for_budget(
      config, seconds, text_bytes(paths_of(config.data.train)), tokens_per_parameter,
      *machine.backend, [&](const std::string& text) { context.note("  {}", text); });
  context.note(
      "{} cores, {}: a {}-parameter model on {} tokens ({:.1f} per parameter, {:.1f} times the "
      "text)",
      machine.team.size(), human_duration(seconds),
      human_count(static_cast<double>(choice.parameters)), human_count(choice.tokens),
      choice.tokens / static_cast<double>(choice.parameters), choice.epochs);
  if (choice.limited_by_text) context.note("  more text would allow a larger model in this time");
  config = choice.config;
  config.model.vocabulary = 0;  // what the tokenizer turns out to have
}

/// The command that made this process, as the kernel keeps it.
std::string command_line() {
  std::string words = read_file("/proc/self/cmdline");
  for (char& c : words)
    if (c == '\0') c = ' ';
  return words + "\n";
}

void write_run_files(const Run& run, const Machine& machine, const std::string& kernel_plan) {
  write_file_atomically(run.folder / "config.toml", config_to_toml(run.config, run.origins));
  write_file_atomically(run.folder / "command.txt", command_line());
  write_file_atomically(run.folder / "kernel-plan.json", kernel_plan);
  write_environment(run.folder, machine.backend->description(), machine.team.size());
  write_file_atomically(run.folder / "data-manifest.json", data_manifest(run));
}

/// Writes a short text with the parameters as they are; its own small model shares nothing but
/// them.
std::function<std::string(const ParamBuffer&)> sampler_for(const Run& run, Backend& backend) {
  if (!run.tokenizer) return {};
  return [&run, &backend](const ParamBuffer& parameters) {
    Model model(
        run.config.model, run.table, parameters, backend,
        {.tokens = run.config.model.context, .recompute = Recompute::none, .training = false});
    Session session(model, backend);
    std::vector<int32_t> prompt;
    if (run.tokenizer->separator() >= 0) prompt.push_back(run.tokenizer->separator());
    run.tokenizer->encode(run.config.eval.sample_prompt, prompt);
    if (prompt.empty()) prompt.push_back(0);
    const std::vector<int32_t> ids = generate(session, prompt,
                                              {.tokens = 40,
                                               .sampling = {.temperature = 0.7},
                                               .stop_tokens = {run.tokenizer->separator()}})
                                         .ids;
    std::string text = run.config.eval.sample_prompt + run.tokenizer->decode(ids);
    for (char& c : text)
      if (c == '\n' || c == '\r') c = ' ';
    return text;
  };
}

/// Messages as events of rows of their own, as many as there were ever under way at once.
void add_messages(std::vector<WireSpan> spans,
                  const Trace& trace,
                  int rank,
                  std::vector<std::string>& rows,
                  std::vector<TimelineEvent>& events) {
  std::sort(spans.begin(), spans.end(),
            [](const WireSpan& a, const WireSpan& b) { return a.start < b.start; });
  const size_t first = rows.size();
  std::vector<double> free;  // per row
  for (const WireSpan& span : spans) {
    if (span.start < trace.origin()) continue;
    const auto row = static_cast<size_t>(
        std::find_if(free.begin(), free.end(), [&](double end) { return end <= span.start; }) -
        free.begin());
    if (row == free.size()) {
      free.push_back(0);
      rows.push_back(row ? fmt::format("messages {}", row + 1) : "messages");
    }
    free[row] = span.end;
    events.push_back(
        {rank, static_cast<int>(first + row),
         fmt::format("{} {}", span.what, human_bytes(static_cast<double>(span.sent_bytes))),
         span.start - trace.origin(), span.end - trace.origin()});
  }
}

/// Everybody's text, at the first rank alone: too much for every rank to have it all. Collective.
std::vector<std::string> collect(Communicator& ranks, std::string mine) {
  const std::vector<int64_t> sizes = ranks.gather(static_cast<int64_t>(mine.size()));
  if (!ranks.is_root()) {
    const Message to[] = {{0, mine.data(), mine.size()}};
    ranks.exchange(to, {});
    return {};
  }
  std::vector<std::string> all = {std::move(mine)};
  for (int rank = 1; rank < ranks.size(); ++rank) {
    std::string& text =
        all.emplace_back(static_cast<size_t>(sizes[static_cast<size_t>(rank)]), ' ');
    const Message from[] = {{rank, text.data(), text.size()}};
    ranks.exchange({}, from);
  }
  return all;
}

/// What all ranks did, into one file. Collective.
void write_trace(const Trace& trace,
                 World* world,
                 Communicator& ranks,
                 const fs::path& file,
                 const Context& context) {
  std::vector<std::string> rows = Trace::kRows;
  std::vector<TimelineEvent> events = trace.timeline(ranks.rank());
  if (world) add_messages(world->spans(), trace, ranks.rank(), rows, events);
  const std::vector<std::string> parts = collect(ranks, timeline_part(rows, events));
  if (!ranks.is_root()) return;
  write_timeline(file, parts);
  context.note(
      "{}: {} events{}{}; open it in ui.perfetto.dev or chrome://tracing", file.string(),
      events.size(),
      trace.left_out() ? fmt::format(", {} later ones left out", trace.left_out()) : std::string(),
      ranks.size() > 1 ? ", and those of the other ranks" : "");
}

Json outcome_json(const Run& run, const TrainSummary& summary) {
  Json json = {{"steps", summary.steps},
               {"tokens", summary.tokens},
               {"parameters", parameter_count(run.table)},
               {"train_loss", summary.train_loss},
               {"valid_loss", nullptr},
               {"tokens_per_s", summary.tokens_per_s},
               {"peak_bytes", summary.peak_bytes},
               {"run", run.folder.string()},
               {"stopped", summary.stopped}};
  if (summary.valid_loss) json["valid_loss"] = *summary.valid_loss;
  return json;
}

/// FLOP/s of the model's largest hidden product, for the share of it that the progress line shows.
/// On a backend of its own, whose memory is free again before training takes any.
double measure_limit(const Run& run, Machine& machine) {
  const std::unique_ptr<Backend> backend = machine.make_backend();
  const std::vector<ProductShape> shapes = product_shapes(run);
  const auto work = [](const ProductShape& shape) { return shape.outputs * shape.inputs; };
  return measure_product_rate(
      *backend,
      {*std::max_element(shapes.begin() + 1, shapes.end(),
                         [&](const auto& a, const auto& b) { return work(a) < work(b); })});
}

/// A large model that begins anew has to pass the coordinate check.
void hold_to_coordinates(const TrainRequest& request, const Run& run, const Context& context) {
  const bool skipped =
      std::find(request.skip.begin(), request.skip.end(), "coordcheck") != request.skip.end();
  const double tokens = static_cast<double>(run.batch.tokens_before(run.schedule.steps));
  const double flops = tokens * training_flops_per_token(run.config.model);
  if (skipped || flops < request.coordcheck_above || !run.config.model.init.empty()) return;
  require_coordinates(run.config, coordcheck_cache(), context);
}

/// Data is checked and built in the run folder; a start that is refused there leaves no folder
/// behind.
Run prepare(const TrainRequest& request,
            const RunConfig& config,
            const Origins& origins,
            const fs::path& folder,
            bool resumes,
            const std::optional<CheckpointRef>& trunk,
            const Machine& machine,
            const Context& context,
            int ranks,
            std::unique_ptr<RunLock>& lock) {
  const InPhase phase(Phase::data);
  // What is named but missing is said before anything is made. A run that goes on has its stores.
  if (!resumes) text_bytes(paths_of(config.data.train));
  const bool made_here = !fs::exists(folder);
  require_writable_directory(folder);
  // Ranks of an attempt that failed may need a moment to be gone.
  lock = std::make_unique<RunLock>(folder, std::getenv(kSupervisorVariable) ? 15 : 0);
  try {
    if (trunk) share_data(*trunk, folder);
    Run run = prepare_run(config, origins,
                          {.folder = folder,
                           .note = [&](const std::string& text) { context.note("{}", text); },
                           .stop = stop_flag(),
                           .threads = machine.team.size(),
                           .reuse = resumes});
    require_grid(run, ranks);
    if (!resumes && !run.config.model.init.empty())
      require_tensors_of(*open_model(run.config.model.init), run.table);
    if (!resumes) hold_to_coordinates(request, run, context);
    return run;
  } catch (...) {
    std::error_code ignored;
    if (made_here) fs::remove_all(folder, ignored);
    throw;
  }
}

/// Ranks must compute alike, so what a GPU chooses by timing the first one chooses for all, on a
/// backend of its own, whose memory is free again before training takes any.
std::string rehearsed_choices(const Run& run, Machine& machine, const std::string& kernel_plan) {
  const std::unique_ptr<Backend> backend = machine.make_backend();
  follow_choices(*backend, kernel_plan);
  backend->use_choices(machine.backend->choices());  // what a budget was measured with
  rehearse(run.config, run.batch, *backend);
  return backend->choices();
}

/// What stands before the first step; the same on all ranks.
struct Start {
  std::unique_ptr<RunLock> lock;  // of the first rank
  std::unique_ptr<Machine> machine;
  std::unique_ptr<const Run> run;
  std::string kernel_plan;
  std::string choices;  // beyond it
  std::optional<CheckpointRef> resume;
  bool config_changed = false;
};

/// The first rank's part: everything that is chosen, found or built.
Start decide(const TrainRequest& request,
             const Context& context,
             World* world,
             const RankDevices& devices) {
  const int ranks = world ? world->ranks().size() : 1;
  Origins origins;
  const std::optional<CheckpointRef> trunk = checkpoint_to_branch(request, context);
  RunConfig config = config_of(request, trunk, origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
  const fs::path folder = run_folder(request, config);
  require_new_or_resumed(request, folder);
  Start start;
  start.resume = trunk ? trunk : checkpoint_to_resume(request, folder, context);

  const TrainState before = start.resume ? load_state(*start.resume) : TrainState();
  start.machine = std::make_unique<Machine>(
      for_ranks(as_planned(config.compute, before.kernel_plan), world, devices));
  Machine& machine = *start.machine;
  settle_path(config, origins, machine, context);
  if (!config.schedule.budget.empty())
    spend_budget(config, request.tokens_per_parameter, machine, context);
  settle_slots(config, ranks);
  start.run =
      std::make_unique<Run>(prepare(request, config, origins, folder, start.resume.has_value(),
                                    trunk, machine, context, ranks, start.lock));
  const Run& run = *start.run;
  // A branch differs by what it is; it is saved at once, as its own.
  start.config_changed =
      trunk ||
      (start.resume && !changes_since(*start.resume, before, run, request, context).empty());
  const fs::path manifest = (trunk ? run_folder_of(*trunk) : folder) / "data-manifest.json";
  if (start.resume && fs::exists(manifest))
    require_same_data(read_file(manifest), manifest.string(), run);
  start.kernel_plan = kernel_plan_of(machine, before.kernel_plan);
  if (machine.choice.gpu && ranks > 1)
    start.choices = rehearsed_choices(run, machine, start.kernel_plan);
  write_run_files(run, machine, start.kernel_plan);
  return start;
}

/// Same program, kernels and data everywhere, before the first step; said by whoever differs.
void require_agreement(const Start& start, Communicator& ranks) {
  const auto require_same = [&](const std::string& what, const std::string& mine) {
    const std::string first = ranks.gather_texts(mine)[0];
    if (mine != first)
      fail_user("{} differ from those of the first rank: {}, and there {}", what, mine, first);
  };
  require_same("the program's bytes", program_hash());
  require_same("the kernels", start.machine->backend->description());
  require_same("the training data (fingerprints of the token stores)",
               data_fingerprints(*start.run));
}

/// The other ranks take over what the first decided; then all make sure that they agree.
void share(Start& start, Communicator& ranks, World* world, const RankDevices& devices) {
  const bool root = ranks.is_root();
  const auto tell = [&](const std::string& text) { return ranks.broadcast_text(text, 0); };
  const InPhase phase(Phase::data);  // the first rank may be building it
  const std::string config =
      tell(root ? config_to_toml(start.run->config, start.run->origins) : "");
  const std::string folder = tell(root ? start.run->folder.string() : "");
  start.kernel_plan = tell(start.kernel_plan);
  start.choices = tell(start.choices);
  const std::string resume = tell(start.resume ? start.resume->folder.string() : "");
  start.config_changed = ranks.max(start.config_changed);
  if (!root) {
    Origins origins;
    RunConfig mine = parse_config(config, "the config of the first rank", {}, origins);
    start.machine = std::make_unique<Machine>(
        for_ranks(as_planned(mine.compute, start.kernel_plan), world, devices));
    start.run = std::make_unique<Run>(prepare_run(mine, origins,
                                                  {.folder = folder,
                                                   .note = {},
                                                   .stop = stop_flag(),
                                                   .threads = start.machine->team.size(),
                                                   .reuse = true,
                                                   .writes = false}));
    if (!resume.empty()) start.resume = CheckpointRef{resume, read_manifest(resume)};
  }
  require_agreement(start, ranks);
}

}  // namespace

RunConfig read_config(const TrainRequest& request, Origins& origins) {
  std::optional<fs::path> file = request.file;
  if (!file && !request.resume.empty() && !request.out.empty() &&
      fs::exists(fs::path(request.out) / "config.toml"))
    file = fs::path(request.out) / "config.toml";
  if (!file && !request.resume.empty() && request.overrides.empty() && request.texts.empty())
    fail_user(
        "there is no run in {} to go on with; name its folder by --out, or a run.toml to start",
        request.out.empty() ? "this command" : request.out);
  std::vector<std::string> overrides = request.overrides;
  const bool resumes_stored = file && !request.file;
  if (!request.budget.empty() && !resumes_stored)
    overrides.push_back("schedule.budget=" + request.budget);
  // A run that has started stored what its model came from.
  RunConfig config = resumes_stored ? load_config(file, overrides, origins)
                                    : load_config(file, overrides, origins, model_settings);
  if (!request.texts.empty() && !resumes_stored) config.data.train = entries_of(request.texts);
  if (config.data.train.empty())
    fail_user(
        "there is nothing to learn from; set data.train, or name texts: isoflop train --budget 30m "
        "book.txt");
  return config;
}

fs::path run_folder(const TrainRequest& request, const RunConfig& config) {
  return request.out.empty() ? fs::path("runs") / config.output.name : fs::path(request.out);
}

ComputeConfig for_ranks(ComputeConfig compute, World* world, const RankDevices& devices) {
  if (!world || world->ranks().size() == 1) return compute;
  if (compute.device == "cuda")
    take_device(devices);
  else
    compute.device = "cpu";
  if (compute.threads == 0)
    compute.threads = std::max(1, usable_cores() / world->ranks_sharing_cores());
  return compute;
}

void settle_slots(RunConfig& config, int ranks) {
  const int copies =
      fit_grid(ranks, static_cast<int>(config.parallel.tp), static_cast<int>(config.parallel.pp))
          .dp;
  if (config.schedule.slots == 0 && copies > 1)
    config.schedule.slots = resolved(config, copies).schedule.slots;
}

void require_grid(const Run& run, int ranks) {
  const GridShape grid = grid_shape(run.config, ranks);
  blocks_of_stage(run.config.model.layers, 0, grid.pp);
  if (grid.tp > 1 && run.config.compute.device == "cuda")
    fail_user(
        "ranks share matrices (parallel.tp = {}) on CPUs only; set parallel.tp to 1 and, for a "
        "model "
        "that does not fit one GPU, parallel.pp to the number of its stages",
        grid.tp);
  if (run.batch.slots >= grid.dp) return;
  fail_user(
      "{} ranks cannot share {} slots (a step has {} sequences); start at most {}, or begin a run "
      "with schedule.slots={} and a batch to match",
      ranks, run.batch.slots, run.batch.sequences(), run.batch.slots * grid.pp * grid.tp, grid.dp);
}

Initializer initializer_for(const Run& run, Machine& machine) {
  if (run.config.model.init.empty()) return {};
  return [&run, &machine](ParamBuffer& parameters) {
    open_model(run.config.model.init)->read_parameters(run.table, parameters, machine.team);
  };
}

fs::path folder_of(const TrainRequest& request) {
  Origins origins;
  const fs::path folder = run_folder(request, read_config(request, origins));
  require_new_or_resumed(request, folder);
  return folder;
}

TrainOutcome train(const TrainRequest& request, const Context& context, World* world) {
  install_stop_signals();
  const std::unique_ptr<Communicator> alone = make_self();
  Communicator& ranks = world ? world->ranks() : *alone;
  const RankDevices devices =
      ranks.size() > 1 ? share_devices(ranks, gpu::find_devices()) : RankDevices();
  Start start = ranks.is_root() ? decide(request, context, world, devices) : Start();
  if (ranks.size() > 1) share(start, ranks, world, devices);
  const Run& run = *start.run;
  Machine& machine = *start.machine;
  const fs::path folder = run.folder;
  follow_choices(*machine.backend, start.kernel_plan);
  machine.backend->use_choices(start.choices);
  const std::unique_ptr<Communicator> wire = make_wire(machine, ranks);
  print_plan(run, *machine.backend, context, ranks.size());
  const size_t planned = planned_memory(run, *machine.backend, ranks.size());
  const double product_rate =
      context.quiet || !ranks.is_root() ? 0 : ranks.size() * measure_limit(run, machine);

  std::optional<Trace> trace;
  if (!request.profile.empty()) {
    if (world) world->record_spans(kMostSpans);
    ranks.barrier();  // clocks of all ranks begin here
    trace.emplace();
  }
  Trace nothing(0);
  ProfilingBackend profiler(*machine.backend, trace ? *trace : nothing);
  profiler.measure(trace.has_value());
  Trainer trainer(run, profiler,
                  {.quiet = context.quiet,
                   .kernel_plan = start.kernel_plan,
                   .kernel_plan_now =
                       [&] {
                         const std::string now = with_choices(start.kernel_plan, *machine.backend);
                         if (ranks.is_root() && now != start.kernel_plan)
                           write_file_atomically(folder / "kernel-plan.json", now);
                         return now;
                       },
                   .accept_new_kernel_plan = request.accept_new_kernel_plan,
                   .config_changed = start.config_changed,
                   .stop = [] { return stop_requested().has_value(); },
                   .initialize = initializer_for(run, machine),
                   .trace = trace ? &*trace : nullptr,
                   .profiler = &profiler,
                   .product_rate = product_rate,
                   .ranks = ranks.size() > 1 ? &ranks : nullptr,
                   .wire = wire.get(),
                   .sample = sampler_for(run, *machine.backend)},
                  start.resume);
  const TrainSummary summary = trainer.run();
  if (trace) write_trace(*trace, world, ranks, request.profile, context);
  print_memory(planned, summary.peak_bytes, context);
  TrainOutcome outcome{ExitCode::kDone, outcome_json(run, summary), folder};
  if (summary.stopped) {
    // After Ctrl-C at one rank all of them were interrupted.
    const bool interrupted = stop_requested() == ExitCode::kInterrupted;
    outcome.code = ranks.max(interrupted) ? ExitCode::kInterrupted : ExitCode::kStopped;
    context.note("stopped and saved at step {}; go on with: isoflop train --resume auto --out {}",
                 summary.steps, folder.string());
  } else {
    context.print("trained {} steps, {} tokens: loss {:.4f}{}; {}", summary.steps,
                  human_count(static_cast<double>(summary.tokens)), summary.train_loss,
                  summary.valid_loss ? fmt::format(", validation {:.4f}", *summary.valid_loss)
                                     : std::string(),
                  folder.string());
    if (ranks.is_root()) write_run_card(folder, "", context);
  }
  return outcome;
}

Json dry_run(const TrainRequest& request,
             const Context& context,
             World& world,
             const RankDevices& devices) {
  const int ranks = world.ranks().size();
  Origins origins;
  const std::optional<CheckpointRef> trunk = checkpoint_to_branch(request, context);
  RunConfig config = config_of(request, trunk, origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
  Machine machine(for_ranks(config.compute, &world, devices));
  settle_path(config, origins, machine, context);
  if (!config.schedule.budget.empty())
    spend_budget(config, request.tokens_per_parameter, machine, context);
  settle_slots(config, ranks);
  const Run run = plan_run(config, origins, run_folder(request, config));
  require_grid(run, ranks);
  print_plan(run, *machine.backend, context, ranks);
  return plan_json(run, *machine.backend, ranks);
}

}  // namespace isoflop
