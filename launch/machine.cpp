#include "launch/machine.hpp"

#include "cpu/backend.hpp"
#include "cpu/gemm_bf16_amx.hpp"
#include "cuda/backend.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <utility>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

std::vector<ComputePath> candidates(const ComputeConfig& compute) {
  std::vector<ComputePath> paths;
  const bool named = compute.bf16_kernel != "auto";
  if (compute.dtype != "bf16") paths.push_back({});
  if (compute.dtype == "fp32") return paths;
  if (named) {
    const auto kernel = cpu::bf16_kernel_named(compute.bf16_kernel);
    ISOFLOP_CHECK(kernel, "no kernel is called {}", compute.bf16_kernel);
    if (!cpu::runs_here(*kernel))
      fail_user("this processor cannot run compute.bf16_kernel = \"{}\"; set it to auto",
                compute.bf16_kernel);
    paths.push_back({DType::bf16, *kernel});
    return paths;
  }
  for (const ComputePath& path : available_paths())
    if (path.activation == DType::bf16) paths.push_back(path);
  return paths;
}

ComputeChoice choose_gpu(const ComputeConfig& compute) {
  const gpu::DeviceReport report = gpu::find_devices();
  if (report.devices == 0)
    fail_user("compute.device = \"cuda\", but there is no GPU to compute on: {}", report.problem);
  if (compute.dtype == "fp32")
    fail_user(
        "a GPU computes in bf16 here; set compute.dtype to bf16 or auto, or compute.device to cpu");
  ComputeChoice choice;
  choice.gpu = true;
  choice.path.activation = DType::bf16;
  choice.reason = "as configured";
  return choice;
}

/// Nothing when it is not one.
Json parse_plan(const std::string& kernel_plan) {
  Json plan = Json::parse(kernel_plan, nullptr, false);
  return plan.is_object() ? plan : Json::object();
}

std::string text_of(const Json& plan, const char* key) {
  const auto found = plan.find(key);
  return found != plan.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

ComputeChoice choose_compute(const ComputeConfig& compute) {
  if (compute.device == "cuda") return choose_gpu(compute);
  const std::vector<ComputePath> paths = candidates(compute);
  if (paths.size() == 1) return {paths.front(), {}, "as configured"};
  ComputeChoice choice;
  for (const ComputePath& path : paths) choice.rates.push_back(measure_path(path));
  PathChoice chosen = choose_path(choice.rates);
  choice.path = chosen.path;
  choice.reason = std::move(chosen.reason);
  return choice;
}

ComputeConfig fp32_on(int threads) {
  ComputeConfig compute;
  compute.device = "cpu";
  compute.dtype = "fp32";
  compute.threads = threads;
  return compute;
}

ComputeConfig with_choice(ComputeConfig compute, const ComputeChoice& choice) {
  const bool bf16 = choice.path.activation == DType::bf16;
  compute.dtype = bf16 ? "bf16" : "fp32";
  if (bf16 && !choice.gpu) compute.bf16_kernel = cpu::name_of(choice.path.kernel);
  return compute;
}

ComputeConfig as_planned(ComputeConfig compute, const std::string& kernel_plan) {
  const Json plan = parse_plan(kernel_plan);
  const std::string dtype = text_of(plan, "dtype"), kernel = text_of(plan, "bf16_kernel");
  if (compute.dtype == "auto" && (dtype == "fp32" || dtype == "bf16")) compute.dtype = dtype;
  const auto known = cpu::bf16_kernel_named(kernel);
  if (compute.bf16_kernel == "auto" && known && cpu::runs_here(*known))
    compute.bf16_kernel = kernel;
  return compute;
}

Machine::Machine(const ComputeConfig& compute)
    : choice(choose_compute(compute)), team(compute.threads), backend(make_backend()) {}

std::unique_ptr<Backend> Machine::make_backend() {
  if (choice.gpu) return gpu::make_gpu_backend();
  return make_cpu_backend(team, choice.path.activation, choice.path.kernel);
}

std::string kernels_in(const std::string& kernel_plan) {
  return text_of(parse_plan(kernel_plan), "kernels");
}

std::string kernel_plan_of(const Machine& machine, const std::string& stored) {
  const ComputeChoice& choice = machine.choice;
  const bool bf16 = choice.path.activation == DType::bf16;
  const std::string kernels = machine.backend->description();
  // The description names device, type, instruction set, kernel and library: all that matters.
  if (kernels_in(stored) == kernels) return stored;
  Json plan = {{"device", choice.gpu ? "cuda" : "cpu"},
               {"dtype", bf16 ? "bf16" : "fp32"},
               {"kernels", kernels}};
  if (bf16 && !choice.gpu) plan["bf16_kernel"] = cpu::name_of(choice.path.kernel);
  plan["reason"] = choice.reason;
  for (const PathRate& rate : choice.rates)
    plan["gflops_of_a_thread"][name_of(rate.path)] = std::round(rate.flops * 1e-8) / 10;
  return plan.dump() + "\n";
}

std::string with_choices(const std::string& plan, const Backend& backend) {
  const std::string choices = backend.choices();
  if (choices.empty() || text_of(parse_plan(plan), "choices") == choices) return plan;
  Json changed = parse_plan(plan);
  changed["choices"] = choices;
  return changed.dump() + "\n";
}

void follow_choices(Backend& backend, const std::string& plan) {
  const std::string choices = text_of(parse_plan(plan), "choices");
  if (!choices.empty()) backend.use_choices(choices);
}

std::string rates_text(const std::vector<PathRate>& rates) {
  std::string text;
  for (const PathRate& rate : rates)
    text +=
        fmt::format("{}{} {:.0f}", text.empty() ? "" : ", ", name_of(rate.path), rate.flops * 1e-9);
  return text;
}

void print_choice(const ComputeChoice& choice, const Context& context) {
  if (!choice.gpu && gpu::find_devices().devices > 0)
    context.note(
        "there is a GPU; compute.device = \"cuda\" trains on it, but no check has passed on one "
        "yet "
        "(scripts/gpu_check, docs/gpu.md)");
  if (choice.rates.empty()) return;
  if (cpu::amx_state() == cpu::Amx::refused)
    context.note(
        "warning: this processor has AMX, but the system does not let the program use it; bf16 "
        "would be several times faster with it");
  context.note("computing in {}: {} (GFLOP/s of a thread: {})", name_of(choice.path), choice.reason,
               rates_text(choice.rates));
}

}  // namespace isoflop
