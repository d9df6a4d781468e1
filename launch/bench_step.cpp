#include "launch/bench_step.hpp"

#include "datasets/tokenizer/spec.hpp"
#include "launch/train_plan.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/prepare.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/trainer.hpp"

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

constexpr double kRate = 1e-4;  // moves the parameters and lets nothing diverge
constexpr int64_t kProfiledSteps = 3;

/// Steps of one model, numbered from 0, on a backend of its choice.
class Steps {
 public:
  Steps(const Run& run, Backend& backend)
      : backend_(backend),
        source_(random_source(run.config.model.vocabulary, run.config.data.seed)),
        step_(run.config, run.batch, run.table, backend) {
    step_.fill_parameters([&](ParamBuffer& parameters) {
      initialize_parameters(run.table, run.config.data.seed, parameters);
    });
  }

  /// Takes the next one; its seconds.
  double next() {
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    const StepResult result = step_.run(taken_, kRate, source_);
    backend_.synchronize();
    const std::chrono::duration<double> seconds = Clock::now() - start;
    if (!result.finite())
      throw DivergedError(
          fmt::format("step {} on random tokens gave loss {} and gradient norm {}; training with "
                      "this config would fail as well",
                      taken_ + 1, result.loss, result.grad_norm));
    if (taken_++ == 0) first_loss_ = result.loss;
    return seconds.count();
  }
  double first_loss() const { return first_loss_; }

 private:
  Backend& backend_;
  SequenceSource source_;
  TrainStep step_;
  int64_t taken_ = 0;
  double first_loss_ = 0;
};

void measure(const Run& run, Backend& backend, const StepBenchOptions& options, StepBench& bench) {
  Steps steps(run, backend);
  for (int64_t i = 0; i < options.warmup; ++i) {
    const double seconds = steps.next();
    if (i == 0 && options.note) options.note(fmt::format("the first step took {:.3g} s", seconds));
  }
  for (int64_t i = 0; i < options.steps; ++i) bench.seconds.push_back(steps.next());
  bench.loss = steps.first_loss();
  bench.peak_bytes = backend.in_host_memory() ? peak_memory() : backend.peak_bytes();
}

/// On a model of its own, since a model keeps the backend it was made with.
void profile(const Run& run, Backend& backend, StepBench& bench) {
  Trace nothing(0);
  ProfilingBackend profiler(backend, nothing);
  Steps steps(run, profiler);
  steps.next();  // cold
  profiler.forget_totals();
  for (int64_t i = 0; i < kProfiledSteps; ++i) bench.profiled_seconds += steps.next();
  bench.profiled_seconds /= static_cast<double>(kProfiledSteps);
  bench.profiled_steps = kProfiledSteps;
  bench.operations = profiler.totals();
  std::sort(bench.operations.begin(), bench.operations.end(),
            [](const OpTotal& a, const OpTotal& b) { return a.seconds > b.seconds; });
}

}  // namespace

Run run_without_data(RunConfig config, Origins origins) {
  if (!config.schedule.budget.empty())
    fail_user(
        "schedule.budget chooses a model for the time; bench measures the one it is given: set "
        "schedule.steps instead");
  config.schedule.batch_ramp = 0;  // full steps are taken
  config.schedule.batch_ramp_from = 0;
  config.data.train.clear();
  config.data.valid.clear();
  const TokenizerSpec spec = parse_tokenizer_spec(config.data.tokenizer);
  if (config.model.vocabulary == 0 && spec.trained() && spec.kind == Tokenizer::Kind::chars)
    fail_user(
        "only the text tells how many tokens data.tokenizer = \"{}\" has; set model.vocabulary",
        config.data.tokenizer);
  return plan_run(std::move(config), std::move(origins), {});
}

std::vector<ProductShape> product_shapes(const Run& run) {
  const ModelConfig& model = run.config.model;
  const int64_t rows = run.batch.micro_tokens();
  std::vector<ProductShape> shapes = {
      {std::min(rows, kHeadTokens), model.vocabulary, model.d_model}};
  for (const ParamSpec& spec : run.table) {
    const ProductShape shape{rows, spec.rows, spec.cols};
    if (spec.role == ParamRole::hidden &&
        std::find(shapes.begin(), shapes.end(), shape) == shapes.end())
      shapes.push_back(shape);
  }
  return shapes;
}

StepBench bench_step(const Run& run, Backend& backend, const StepBenchOptions& options) {
  ISOFLOP_CHECK(options.steps > 0, "nothing to measure");
  StepBench bench;
  bench.planned_bytes = planned_step_memory(run, backend);
  measure(run, backend, options, bench);
  bench.product_rate = measure_product_rate(backend, product_shapes(run));
  profile(run, backend, bench);

  const double tokens = static_cast<double>(run.batch.tokens());
  const ModelConfig& model = run.config.model;
  bench.tokens_per_s = tokens / median(bench.seconds);
  bench.best_tokens_per_s = tokens / *std::min_element(bench.seconds.begin(), bench.seconds.end());
  bench.flops = training_flops_per_token(model) * bench.tokens_per_s;
  bench.mfu = bench.flops / bench.product_rate;
  bench.mfu_causal = training_flops_per_token(model, CountAttention::causal) * bench.tokens_per_s /
                     bench.product_rate;
  return bench;
}

}  // namespace isoflop
