// From a budget to a run: size, tokens, shape, batch, rate, layout, memory, time, cost, and the
// loss that a law promises. Nothing here measures; hardware "here" comes measured.
#pragma once
#include "pretrain/train/run.hpp"
#include "scaling/hardware.hpp"
#include "scaling/law.hpp"
#include "scaling/shape.hpp"

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
  double unique_tokens = 0;     // 0: as many as wanted
  double inference_tokens = 0;  // what the model is going to be asked for in its life
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
  bool fits = false;
  double communication_bytes = 0, communication_seconds = 0;  // per rank and step
  std::string recipe;                                         // where batch and rate are from
  std::vector<std::string> warnings;

  double memory_bytes() const;
};

struct PlanResult {
  LawOptimum optimum;           // of the law, continuous
  Plan plan;                    // the best shape for the budget
  std::optional<Plan> nearest;  // when `plan` does not fit: the best that does
  std::optional<LawOptimum> for_inference;
};

/// UserError for a budget that buys no step of the smallest model.
PlanResult make_plan(const PlanRequest& request);

}  // namespace isoflop
