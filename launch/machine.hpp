// The device a command computes on, made here and passed to everything below.
#pragma once
#include "core/threads.hpp"
#include "cpu/compute_path.hpp"
#include "launch/context.hpp"
#include "ops/backend.hpp"
#include "pretrain/config/run_config.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// How a run computes and why.
struct ComputeChoice {
  ComputePath path;
  std::vector<PathRate> rates;  // what was measured; empty when nothing was left to choose
  std::string reason;
  bool gpu = false;  // the path says the type alone then
};
/// What compute.device, dtype and bf16_kernel say, the rest by measurement. A GPU only by name:
/// none of its kernels has run on one yet (docs/gpu.md). UserError when a device or a kernel is
/// named that is not here.
ComputeChoice choose_compute(const ComputeConfig& compute);

/// "fp32 108, bf16 amx 1404", in GFLOP/s of a thread.
std::string rates_text(const std::vector<PathRate>& rates);

/// For commands that compute as exactly as they can: on the CPU.
ComputeConfig fp32_on(int threads);
/// `compute` with the choice spelled out, but for the device: a run may go on on another.
ComputeConfig with_choice(ComputeConfig compute, const ComputeChoice& choice);
/// What `compute` leaves open, as a kernel plan has it. A plan of another program, or a kernel that
/// does not run here, changes nothing.
ComputeConfig as_planned(ComputeConfig compute, const std::string& kernel_plan);

struct Machine {
  explicit Machine(const ComputeConfig& compute);
  /// One more on the same device and threads, computing alike.
  std::unique_ptr<Backend> make_backend();

  ComputeChoice choice;
  ThreadTeam team;
  std::unique_ptr<Backend> backend;  // goes before the team it runs on
};

/// Text of kernel-plan.json: what must be the same for the bits to be, and how it was chosen.
/// `stored`, that of a run to go on with, is returned as it is when this machine computes so.
std::string kernel_plan_of(const Machine& machine, const std::string& stored = {});
/// The kernels in it: device, type, instruction set, kernel and library.
std::string kernels_in(const std::string& kernel_plan);

/// `plan` with what the backend has chosen by timing since it started.
std::string with_choices(const std::string& plan, const Backend& backend);
/// Has the backend choose what `plan` says, where it says anything.
void follow_choices(Backend& backend, const std::string& plan);

/// What was measured and chosen, as a note, if there was a choice; and a warning when the system
/// keeps the fastest way from us.
void print_choice(const ComputeChoice& choice, const Context& context);

}  // namespace isoflop
