#include "launch/simulate_run.hpp"

#include "launch/step_terms.hpp"
#include "pretrain/train/prepare.hpp"
#include "report/humanize.hpp"
#include "scaling/simulate.hpp"

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct Speeds {
  RankSpeed rank;
  Wires wires;
};

Speeds measured_speeds(const std::string& file) {
  try {
    const Json json = Json::parse(read_file(file));
    const double wire = json.at("wire_gb_per_s").get<double>() * 1e9;
    return {{json.at("rank_flops"), json.at("memory_gb_per_s").get<double>() * 1e9,
             json.at("ranks_per_core"), json.at("held_up_ns_per_byte").get<double>() * 1e-9},
            {wire, wire, json.at("latency_us").get<double>() * 1e-6, json.at("ranks_per_host")}};
  } catch (const nlohmann::json::exception& error) {
    fail_user("{} is not what isoflop bench comm --json writes: {}", file, error.what());
  }
}

Speeds speeds_of(const SimulateOptions& options, const Run& run) {
  if (options.hardware.empty())
    fail_user(
        "how fast are the ranks? --hardware 8x8xh100, or measure two here: mpirun -n 2 isoflop "
        "bench comm run.toml --json > here.json, then --hardware here.json");
  if (fs::exists(options.hardware)) return measured_speeds(options.hardware);
  const Hardware hardware = parse_hardware(options.hardware);
  if (hardware.devices() != options.ranks)
    fail_user("--simulate {} ranks, and {} has {} devices; make them the same", options.ranks,
              options.hardware, hardware.devices());
  return {speed_of(hardware, static_cast<double>(parameter_count(run.table))), wires_of(hardware)};
}

}  // namespace

ExitCode simulate_run(const TrainRequest& request,
                      const SimulateOptions& options,
                      const Context& context) {
  Origins origins;
  RunConfig config = read_config(request, origins);
  settle_slots(config, options.ranks);
  const Run run = plan_run(config, origins, run_folder(request, config));
  require_grid(run, options.ranks);
  const GridShape grid = grid_shape(run.config, options.ranks);
  const Speeds speeds = speeds_of(options, run);
  const DType activations = run.config.compute.dtype == "fp32" ? DType::f32 : DType::bf16;
  const StepWork work = work_of(run, grid, activations);
  const SimulatedStep step = simulate_steps(work, run.table, speeds.rank, speeds.wires);
  const StepTerms terms = step_terms(work, speeds.rank, speeds.wires);
  const double tokens_per_s = static_cast<double>(run.batch.tokens()) / step.seconds;

  context.print(
      "simulated: {} ranks ({} copies x {} parts x {} stages), {} slots of {} tokens, on {}",
      options.ranks, grid.dp, grid.tp, grid.pp, run.batch.slots,
      run.batch.micro_batches * run.batch.micro_tokens(), options.hardware);
  context.print(
      "simulated: {:.4g} ms a step, {} tokens/s; {:.1f}% compute, {:.1f}% waiting for the "
      "pipeline, {:.0f}% of {:.3g} ms of messages hidden",
      step.seconds * 1e3, human_count(tokens_per_s), 100 * step.compute / step.seconds,
      100 * step.bubble, 100 * step.hidden(), step.wire * 1e3);
  context.print("in closed form:");
  print_step_terms(terms, context);
  if (!options.timeline.empty()) {
    write_timeline(options.timeline, {timeline_part(kSimulatedRows, step.events)});
    context.note("{}: {} events; open it in ui.perfetto.dev or chrome://tracing", options.timeline,
                 step.events.size());
  }
  context.result({{"simulated", true},
                  {"ranks", options.ranks},
                  {"layout", {{"dp", grid.dp}, {"tp", grid.tp}, {"pp", grid.pp}}},
                  {"slots", run.batch.slots},
                  {"step_seconds", step.seconds},
                  {"tokens_per_s", tokens_per_s},
                  {"compute", step.compute},
                  {"bubble", step.bubble},
                  {"wire_seconds", step.wire},
                  {"hidden", step.hidden()},
                  {"closed_form", step_json(terms)}});
  return ExitCode::kDone;
}

}  // namespace isoflop
