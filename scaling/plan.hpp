// From a budget to a run: size, tokens, shape, batch, rate, layout, memory, time, cost, and the
// loss that a law promises. Nothing here measures; hardware "here" comes measured.
#pragma once
#include "pretrain/train/run.hpp"
#include "scaling/devices.hpp"
#include "scaling/hardware.hpp"
#include "scaling/law.hpp"
#include "scaling/shape.hpp"
#include "scaling/step_model.hpp"

#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct Budget {
  enum class Kind { flops, tokens, seconds, usd };
  Kind kind = Kind::flops;
  double amount = 0;
};
/// "1e18flop" (k, M, G, T, P, E before it are understood), "2.2Gtok", "30m", "50usd".
Budget parse_budget(const std::string& text);

struct PlanRequest {
  Budget budget;
  Hardware hardware;
  LossLaw law;
  ShapeOptions shapes;
  double unique_tokens = 0;         // 0: as many as wanted
  double inference_tokens = 0;      // what the model is going to be asked for in its life
  const Device* runs_on = nullptr;  // where the model has to run afterwards, as Q4_0
  std::string state = "fp32";       // optimizer.state of the run
};

struct GridLayout {
  int64_t dp = 1, tp = 1, pp = 1;
  std::string recompute = "none";
};

struct Plan {
  RunConfig config;  // resolved; data left open
  int64_t parameters = 0;
  double law_parameters = 0;  // by the law's count
  double tokens = 0, flops = 0, seconds = 0, usd = 0;
  int64_t steps = 0, warmup_steps = 0;
  double critical_batch = 0;  // tokens
  double loss = 0;
  LossRange range;       // in F16
  LossRange range_4bit;  // and in 4 bits
  GridLayout layout;
  std::vector<MemoryRow> memory;  // of one rank
  bool fits = false;              // a rank's memory, and every rank has a sequence
  std::optional<DeviceFit> on_device;
  StepTerms step;      // what a step takes
  std::string recipe;  // where batch and rate are from
  std::vector<std::string> warnings;

  double memory_bytes() const;
  /// It can be trained, and runs where it has to.
  bool feasible() const { return fits && (!on_device || on_device->fits()); }
};

/// Longest training that is proposed in place of what was asked for.
inline constexpr double kLongestSeconds = 365.0 * 24 * 3600;

struct PlanResult {
  LawOptimum optimum;  // of the law, continuous
  Plan plan;           // the best shape for the budget
  /// When `plan` is not feasible: the best that is. It spends less than the budget where its
  /// training would take more than kLongestSeconds and the budget is not a time itself.
  std::optional<Plan> nearest;
  std::optional<LawOptimum> for_inference;
};

/// UserError for a budget that buys no step of the smallest model.
PlanResult make_plan(const PlanRequest& request);

}  // namespace isoflop
