#include "scaling/plan.hpp"

#include "core/file.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/runs_on.hpp"
#include "launch/step_terms.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/quantity.hpp"
#include "pretrain/model/architecture.hpp"
#include "report/humanize.hpp"
#include "scaling/budget.hpp"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string budget, hardware = "here", law = "epoch", arch = "llama";
  std::string write, unique, inference, runs_on, state = "fp32";
  int64_t vocabulary = 0, context = 0;
  double usd_per_hour = 0;
};

double installed_memory() {
  return static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// This machine, measured on the shape that it is then used for; another shape, another speed, so
/// it goes around until the shape stays.
Hardware measure_here(PlanRequest request, const Context& context) {
  constexpr double kAtMost = 5e7;  // parameters that are worth a measurement of seconds
  ComputeConfig cpu;
  cpu.device = "cpu";
  Machine machine(cpu);
  print_choice(machine.choice, context);
  request.hardware.name = "here";
  request.hardware.device = machine.backend->description();
  request.hardware.memory_bytes = installed_memory();
  request.hardware.measured_flops = 5e10 * machine.team.size();  // a first guess
  int64_t measured = 0;
  for (int round = 0; round < 3; ++round) {
    RunConfig config = make_plan(request).plan.config;
    if (static_cast<double>(count_parameters(config.model, ParameterCount::all)) > kAtMost) {
      PlanRequest smaller = request;
      smaller.budget = {Budget::Kind::tokens, request.law.tokens_for(kAtMost)};
      config = make_plan(smaller).plan.config;
    }
    const int64_t parameters = count_parameters(config.model, ParameterCount::all);
    if (parameters == measured) break;
    measured = parameters;
    config.compute = with_choice(config.compute, machine.choice);
    const double speed = measure_tokens_per_s(config, *machine.backend, 1);
    request.hardware.measured_flops = speed * training_flops_per_token(config.model);
    context.note("  {} parameters: {} tokens/s here", human_count(static_cast<double>(parameters)),
                 human_count(speed));
  }
  return request.hardware;
}

Arch arch_of(const std::string& name) {
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
    if (name == name_of(arch)) return arch;
  fail_user("--arch {}: there are gpt3, pythia and llama", name);
}

PlanRequest request_of(const Options& options, const Context& context) {
  PlanRequest request;
  request.budget = parse_budget(options.budget);
  request.law = find_law(options.law);
  request.shapes = {arch_of(options.arch), options.vocabulary, options.context};
  if (!options.unique.empty()) request.unique_tokens = parse_tokens(options.unique, "--unique");
  if (!options.inference.empty())
    request.inference_tokens = parse_tokens(options.inference, "--inference");
  if (!options.runs_on.empty()) request.runs_on = &find_device(options.runs_on);
  request.state = options.state;
  const bool here = options.hardware == "here";
  if (!here) request.hardware = parse_hardware(options.hardware);
  if (options.usd_per_hour > 0) request.hardware.usd_per_hour = options.usd_per_hour;
  if (request.budget.kind == Budget::Kind::usd && !(request.hardware.usd_per_hour > 0))
    fail_user("a budget in money needs a price; say what this machine costs: --usd-per-hour 0.1");
  if (here) request.hardware = measure_here(request, context);
  return request;
}

Json json_of(const PlanRequest& request, const Plan& plan) {
  const ModelConfig& m = plan.config.model;
  Json json = {{"parameters", plan.parameters},
               {"tokens", plan.tokens},
               {"loss", plan.loss},
               {"loss_low", plan.range.low},
               {"loss_high", plan.range.high},
               {"loss_4bit_low", plan.range_4bit.low},
               {"loss_4bit_high", plan.range_4bit.high},
               {"memory_bytes", plan.memory_bytes()},
               {"fits", plan.feasible()},
               {"law_parameters", plan.law_parameters},
               {"flops", plan.flops},
               {"steps", plan.steps},
               {"batch_tokens", plan.config.schedule.batch_tokens},
               {"critical_batch_tokens", plan.critical_batch},
               {"lr", plan.config.optimizer.lr},
               {"warmup_steps", plan.warmup_steps},
               {"recipe", plan.recipe},
               {"seconds", plan.seconds},
               {"usd", plan.usd},
               {"communication_bytes", plan.step.traffic.gradients + plan.step.traffic.parameters},
               {"communication_seconds", plan.step.gradients + plan.step.parameters}};
  json["step"] = step_json(plan.step);
  json["slots"] = plan.config.schedule.slots;
  json["shape"] = {{"arch", name_of(m.arch)},   {"layers", m.layers}, {"d_model", m.d_model},
                   {"heads", m.heads},          {"d_ff", m.d_ff},     {"context", m.context},
                   {"vocabulary", m.vocabulary}};
  json["layout"] = {{"dp", plan.layout.dp},
                    {"tp", plan.layout.tp},
                    {"pp", plan.layout.pp},
                    {"recompute", plan.layout.recompute}};
  for (const MemoryRow& row : plan.memory) json["memory"][row.kind] = row.bytes;
  if (plan.on_device)
    json["runs_on"] =
        device_json(*request.runs_on, weights_of_shape(m), *plan.on_device, m.context);
  json["warnings"] = plan.warnings;
  return json;
}

Json json_of(const LawOptimum& optimum) {
  return {{"parameters", optimum.parameters}, {"tokens", optimum.tokens}, {"loss", optimum.loss}};
}

std::string size_text(const Plan& plan) {
  return fmt::format("{} parameters on {} tokens ({:.1f} per parameter)",
                     human_count(static_cast<double>(plan.parameters)), human_count(plan.tokens),
                     plan.tokens / static_cast<double>(plan.parameters));
}

void print(const PlanRequest& request, const PlanResult& result, const Context& context) {
  const Plan& p = result.plan;
  const ModelConfig& m = p.config.model;
  const ScheduleConfig& s = p.config.schedule;
  context.print("law {}: {} parameters on {} tokens, loss {:.3f}", request.law.name,
                human_count(result.optimum.parameters), human_count(result.optimum.tokens),
                result.optimum.loss);
  context.print("model    {} {} layers x {} wide, {} heads, d_ff {}, context {}, vocabulary {}",
                name_of(m.arch), m.layers, m.d_model, m.heads, m.d_ff, m.context, m.vocabulary);
  context.print("run      {}, {:.3g} FLOPs", size_text(p), p.flops);
  context.print(
      "loss     {:.3f}, 80 % between {:.3f} and {:.3f} in F16; in 4 bits {:.3f} to {:.3f}", p.loss,
      p.range.low, p.range.high, p.range_4bit.low, p.range_4bit.high);
  context.print("steps    {} of {} tokens (critical batch {}), warm-up {}, linear to 0", p.steps,
                s.batch_tokens, human_count(p.critical_batch), p.warmup_steps);
  context.print("rate     {} ({})", human_rate(p.config.optimizer.lr), p.recipe);
  context.print("layout   {}: dp {} x tp {} x pp {}, recompute {}", request.hardware.name,
                p.layout.dp, p.layout.tp, p.layout.pp, p.layout.recompute);
  context.print("memory   {} of {} a rank", human_bytes(p.memory_bytes()),
                human_bytes(request.hardware.memory_bytes));
  for (const MemoryRow& row : p.memory)
    context.print("         {:<20} {}", row.kind, human_bytes(static_cast<double>(row.bytes)));
  if (p.on_device)
    context.print("device   {}: {} of {} as Q4_0 with {} tokens of context, {:.3g} tokens/s",
                  request.runs_on->name, human_bytes(p.on_device->total()),
                  human_bytes(request.runs_on->memory), m.context, p.on_device->tokens_per_s);
  print_step_terms(p.step, context);
  context.print("time     {}{}", human_duration(p.seconds),
                p.usd > 0 ? fmt::format(", {:.2f} USD at {} an hour and device", p.usd,
                                        request.hardware.usd_per_hour)
                          : std::string());
  if (result.for_inference)
    context.print("asked for {} tokens, the same loss costs least with {} parameters on {} tokens",
                  human_count(request.inference_tokens),
                  human_count(result.for_inference->parameters),
                  human_count(result.for_inference->tokens));
  for (const std::string& warning : p.warnings) context.note("warning: {}", warning);
}

void write(const Plan& plan, const Options& options) {
  Origins origins;
  for (const Field& field : config_fields()) origins.of[field.key] = "plan";
  write_file_atomically(options.write, config_to_toml(plan.config, origins));
}

std::vector<std::string> obstacles(const PlanRequest& request, const Plan& plan) {
  std::vector<std::string> found;
  if (!plan.fits)
    found.push_back(plan.memory.empty()
                        ? "a batch below the critical one has fewer sequences than there are ranks"
                        : fmt::format("training needs {} a rank, and {} has {}",
                                      human_bytes(plan.memory_bytes()), request.hardware.name,
                                      human_bytes(request.hardware.memory_bytes)));
  if (plan.on_device && !plan.on_device->fits())
    found.push_back(fmt::format("{} has {} too little for the model", request.runs_on->name,
                                human_bytes(plan.on_device->shortfall)));
  return found;
}

/// What stands in the way, and what can be done instead.
void refuse(const PlanRequest& request, const PlanResult& result, const Context& context) {
  for (const std::string& obstacle : obstacles(request, result.plan))
    context.note("this cannot be done: {}", obstacle);
  if (!result.nearest) {
    context.note("no model does: take {}",
                 result.plan.memory.empty() ? "fewer devices" : "larger devices");
    return;
  }
  const Plan& plan = *result.nearest;
  context.note("the nearest plan that can: {}, loss {:.3f}, {}{}", size_text(plan), plan.loss,
               human_duration(plan.seconds),
               plan.on_device ? fmt::format("; {} of {} on {}, {:.3g} tokens/s",
                                            human_bytes(plan.on_device->total()),
                                            human_bytes(request.runs_on->memory),
                                            request.runs_on->name, plan.on_device->tokens_per_s)
                              : std::string());
}

ExitCode run(const Options& options, const Context& context) {
  const PlanRequest request = request_of(options, context);
  const PlanResult result = make_plan(request);
  print(request, result, context);
  Json json = json_of(request, result.plan);
  json["law"] = request.law.name;
  json["hardware"] = request.hardware.name;
  json["optimum"] = json_of(result.optimum);
  if (result.for_inference) json["inference_optimum"] = json_of(*result.for_inference);
  if (!result.plan.feasible()) {
    refuse(request, result, context);
    if (result.nearest) json["nearest"] = json_of(request, *result.nearest);
    context.result(json);
    return ExitCode::kGate;
  }
  if (!options.write.empty()) {
    write(result.plan, options);
    json["file"] = options.write;
    context.print("wrote {}; train it by: isoflop train {} data.train=TEXT", options.write,
                  options.write);
  }
  context.result(json);
  return ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("--budget", options->budget, "1e18flop, 2.2Gtok, 30m or 50usd")->required();
  app.add_option("--hardware", options->hardware,
                 "NODESxDEVICESxNAME such as 64x8xh100; here: this machine, measured")
      ->capture_default_str();
  app.add_option("--runs-on", options->runs_on,
                 "a device that has to run the model afterwards, such as pi4-4gb");
  app.add_option(
         "--law", options->law,
         "hoffmann | hoffmann-full | epoch | muennighoff | cerebras, or a file of fit --out")
      ->capture_default_str();
  app.add_option("--arch", options->arch, "gpt3 | pythia | llama")->capture_default_str();
  app.add_option("--vocabulary", options->vocabulary, "tokens in the vocabulary; 0 = by the size")
      ->check(in_range(0, 100'000'000));
  app.add_option("--context", options->context, "tokens in a sequence; 0 = by the size")
      ->check(in_range(0, 10'000'000));
  app.add_option("--unique", options->unique, "tokens of text there are; more are repeats");
  app.add_option("--inference", options->inference,
                 "tokens the model will be asked for: also the cheapest model over its life");
  app.add_option("--state", options->state, "what moments are kept in: fp32 | bf16")
      ->check(one_of({"fp32", "bf16"}))
      ->capture_default_str();
  app.add_option("--usd-per-hour", options->usd_per_hour, "price of a device");
  app.add_option("--write", options->write, "write the run file here");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command plan_command() {
  return {"plan", "from a budget to a model, its run and its loss",
          "isoflop plan --budget 30m --write run.toml\n  isoflop plan --budget 1e21flop --hardware "
          "8xh100 --law epoch --json",
          declare};
}

}  // namespace isoflop
