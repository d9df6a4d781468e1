// How fast a model trains here: whole optimizer steps on random tokens, against the rate of matrix
// products measured in the same minute.
#pragma once
#include "launch/bench_limits.hpp"
#include "pretrain/train/profiling_backend.hpp"
#include "pretrain/train/run.hpp"

#include <functional>
#include <string>
#include <vector>

namespace isoflop {

struct StepBenchOptions {
  int64_t steps = 10;  // measured, without the profiler
  int64_t warmup = 2;  // before them, left out
  std::function<void(const std::string&)> note;
};

struct StepBench {
  std::vector<double> seconds;  // of each measured step
  double loss = 0;              // of the first step of all
  double tokens_per_s = 0;      // by the median step
  double best_tokens_per_s = 0;
  double flops = 0;             // per second; attention in full
  double mfu = 0;               // flops / product_rate
  double mfu_causal = 0;        // the same with causal attention
  double product_rate = 0;      // FLOP/s of the model's fastest matrix product
  size_t peak_bytes = 0;        // of the process, after the measured steps
  size_t planned_bytes = 0;     // of a step: a run stages checkpoints besides
  double profiled_seconds = 0;  // of a profiled step
  int64_t profiled_steps = 0;
  std::vector<OpTotal> operations;  // of all profiled steps, the longest first
};

/// A run of `config` without its data and of full steps (no batch_ramp): data are not looked at,
/// and what the vocabulary leaves open comes from data.tokenizer. UserError when that cannot tell,
/// or when a budget is to choose the model.
Run run_without_data(RunConfig config, Origins origins);

/// The products of one micro-batch, each shape once.
std::vector<ProductShape> product_shapes(const Run& run);

/// DivergedError when a loss or norm is not finite.
StepBench bench_step(const Run& run, Backend& backend, const StepBenchOptions& options);

}  // namespace isoflop
