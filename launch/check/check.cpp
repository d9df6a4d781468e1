#include "launch/check/check.hpp"

#include "core/hash.hpp"
#include "datasets/corpus.hpp"
#include "launch/bench_step.hpp"
#include "launch/check/links.hpp"
#include "launch/check/stress.hpp"
#include "launch/failure.hpp"
#include "launch/program.hpp"
#include "launch/supervise/sockets.hpp"
#include "parallel/pulse.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/data_manifest.hpp"
#include "pretrain/train/prepare.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/rehearse.hpp"
#include "pretrain/train/stepper.hpp"

#include <algorithm>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSteps = 2;   // the second one uses what the first has gathered
constexpr double kRate = 1e-3;  // moves every parameter

/// Of the bytes of every text, in order.
std::string hash_of_texts(const RunConfig& config) {
  Hasher hasher;
  std::vector<char> piece(size_t{1} << 20);
  const Corpus corpus = Corpus::open(paths_of(config.data.train), nullptr, config.data.field);
  for (const TextFile& file : corpus.files()) {
    const auto text = file.open();
    uint64_t at = 0;
    for (size_t got = 1; got > 0; at += got) {
      got = text->read(at, piece);
      hasher.update(piece.data(), got);
    }
  }
  return hash_hex(hasher.digest());
}

/// Of what a run would learn from here: token stores, whose content is read where `verify` says so,
/// or text.
std::string hash_of_data(const RunConfig& config, const fs::path& folder, bool verify) {
  const std::string first = paths_of(config.data.train).front();
  const bool built = fs::exists(folder / "tokenizer.json");
  if (!built && !TokenStore::looks_like_store(find_stores(first).front()))
    return hash_of_texts(config);
  const Run run = built ? open_run(config, {}, folder) : plan_run(config, {}, folder);
  for (const SampledSource& source : run.train)
    for (const auto& store : source.stores)
      if (verify) TokenStore::open(store->path(), true, run.tokenizer.get());
  return hash_hex(hash_text(data_fingerprints(run)));
}

/// What this rank finds for itself.
RankReport identify(const TrainRequest& request, Communicator& ranks, RunConfig& config) {
  RankReport report;
  report.host = own_host_name();
  report.program = program_hash();
  const std::vector<std::string> hosts = ranks.gather_texts(report.host);
  const auto first_here = std::find(hosts.begin(), hosts.end(), report.host) - hosts.begin();
  try {
    const InPhase phase(Phase::data);
    Origins origins;
    config = read_config(request, origins);
    report.config = hash_hex(hash_text(config_to_toml(config, {})));
    report.data = hash_of_data(config, run_folder(request, config), first_here == ranks.rank());
  } catch (...) {
    const Failure failure = current_failure();
    report.trouble = failure.text;
  }
  return report;
}

std::vector<RankReport> gather(const RankReport& mine, Communicator& ranks) {
  std::vector<RankReport> all;
  for (const std::string& text :
       ranks.gather_texts(json_of(mine).dump(-1, ' ', true, Json::error_handler_t::replace)))
    all.push_back(rank_report_of(Json::parse(text)));
  return all;
}

/// Its largest product; data and tokenizer have no say in it.
ProductShape shape_of(const RunConfig& config) {
  const RunConfig whole = resolved(config);
  const int64_t rows = std::max<int64_t>(whole.schedule.micro_batch * whole.model.context, 64);
  return {rows, whole.model.d_ff, whole.model.d_model};
}

/// `config` with little to do, whose steps still go through every message of the run's.
Run short_run(RunConfig config, int ranks) {
  settle_slots(config, ranks);
  const RunConfig whole = resolved(config);
  config.model.layers = std::min(config.model.layers, std::max<int64_t>(2, config.parallel.pp));
  if (config.model.vocabulary == 0) config.model.vocabulary = 512;  // ids are random anyway
  config.model.init.clear();
  config.schedule.slots = whole.schedule.slots;
  config.schedule.micro_batch = 1;
  config.schedule.batch_tokens = whole.schedule.slots * whole.model.context;
  config.schedule.tokens = config.schedule.tokens_per_parameter = 0;
  config.schedule.budget.clear();
  config.schedule.steps = 100;
  config.schedule.warmup = "1%";
  return run_without_data(config, {});
}

/// What a GPU chooses by timing for all that is compared here.
std::string choices_of(const RunConfig& config, int ranks, Machine& machine) {
  const std::unique_ptr<Backend> backend = machine.make_backend();
  RankReport unread;
  stress(*backend, shape_of(config), 0, unread);
  const Run run = short_run(config, ranks);
  rehearse(run.config, run.batch, *backend);
  return backend->choices();
}

/// The first rank chooses how to compute, the others follow.
std::unique_ptr<Machine> make_machine(const RunConfig& config, World& world) {
  Communicator& ranks = world.ranks();
  const RankDevices devices = share_devices(ranks, gpu::find_devices());
  std::unique_ptr<Machine> machine;
  if (ranks.is_root())
    machine = std::make_unique<Machine>(for_ranks(config.compute, &world, devices));
  const std::string plan = ranks.broadcast_text(machine ? kernel_plan_of(*machine) : "", 0);
  if (!machine)
    machine =
        std::make_unique<Machine>(for_ranks(as_planned(config.compute, plan), &world, devices));
  if (!machine->choice.gpu) return machine;
  const std::string choices =
      ranks.broadcast_text(ranks.is_root() ? choices_of(config, ranks.size(), *machine) : "", 0);
  machine->backend->use_choices(choices);
  return machine;
}

void print(const CheckReport& report,
           const std::vector<CheckFinding>& findings,
           const Context& context) {
  for (const std::string& line : table_of(report)) context.print("{}", line);
  if (!report.alone.empty())
    context.print("steps: {} of {} rank{}, {} of one", report.together, report.ranks.size(),
                  report.ranks.size() == 1 ? "" : "s", report.alone);
  else
    context.print("steps: not taken, the ranks do not agree on what to do");
  for (const CheckFinding& finding : findings) context.print("FOUND {}", finding.text);
  context.print("{}", findings.empty() ? "nothing is wrong" : "do not launch like this");
}

std::string hash_after_steps(const Run& run,
                             Backend& backend,
                             Communicator* ranks,
                             Communicator* wire) {
  const SequenceSource source = random_source(run.config.model.vocabulary, 1);
  TrainStep step(run.config, run.batch, run.table, backend, ranks, wire);
  step.fill_parameters(
      [&](ParamBuffer& parameters) { initialize_parameters(run.table, 1, parameters); });
  for (int64_t n = 0; n < kSteps; ++n) step.run(n, kRate, source);
  return parameter_hash(step);
}

}  // namespace

void compare_steps(const RunConfig& config,
                   Backend& backend,
                   Communicator& ranks,
                   Communicator* wire,
                   CheckReport& report) {
  const Run run = short_run(config, ranks.size());
  require_grid(run, ranks.size());
  report.together = hash_after_steps(run, backend, ranks.size() > 1 ? &ranks : nullptr, wire);
  if (ranks.is_root()) report.alone = hash_after_steps(run, backend, nullptr, nullptr);
  ranks.barrier();
}

ExitCode check_ranks(const TrainRequest& request,
                     double seconds,
                     const Context& context,
                     World& world) {
  Communicator& ranks = world.ranks();
  CheckReport report;
  RunConfig config;
  RankReport mine = identify(request, ranks, config);
  report.ranks = gather(mine, ranks);
  if (ranks.size() > 1) report.links = measure_links(ranks);
  if (alike(report)) {
    const std::unique_ptr<Machine> machine = make_machine(config, world);
    mine.kernels = machine->backend->description();
    ranks.barrier();  // all at once, as in training
    stress(*machine->backend, shape_of(config), seconds, mine);
    report.ranks = gather(mine, ranks);
    if (alike(report)) {
      const std::unique_ptr<Communicator> wire = make_wire(*machine, ranks);
      compare_steps(config, *machine->backend, ranks, wire.get(), report);
    }
  }
  const std::vector<CheckFinding> findings = judge(report);
  if (ranks.is_root()) {
    print(report, findings, context);
    context.result(json_of(report, findings));
  }
  return static_cast<ExitCode>(
      ranks.max(ranks.is_root() ? static_cast<int>(code_of(findings)) : 0));
}

}  // namespace isoflop
