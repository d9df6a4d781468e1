#include "scaling/budget.hpp"

#include "pretrain/config/resolve.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/prepare.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/train_step.hpp"
#include "report/humanize.hpp"
#include "scaling/shape.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

namespace isoflop {

namespace {

/// Share of the time that steps get; the rest is validation, samples and saving.
constexpr double kStepShare = 0.9;

struct Rung {
  int64_t layers, d_model, head_dim, vocabulary, context;
  double bytes_per_token;  // of English text under such a vocabulary, roughly
};
// Widths grow with depth at about 50 to 80 per layer, as published families do; small models get
// small vocabularies, since an embedding table that is rarely visited learns nothing.
constexpr std::array<Rung, 13> kLadder = {{
    {2, 64, 32, 1024, 128, 2.5},
    {2, 96, 32, 2048, 128, 2.9},
    {3, 96, 32, 2048, 128, 2.9},
    {3, 128, 32, 2048, 128, 2.9},
    {4, 160, 32, 4096, 128, 3.3},
    {4, 192, 32, 4096, 256, 3.3},
    {5, 256, 64, 4096, 256, 3.3},
    {6, 320, 64, 8192, 256, 3.7},
    {6, 384, 64, 8192, 256, 3.7},
    {8, 512, 64, 8192, 512, 3.7},
    {10, 640, 64, 16384, 512, 4.0},
    {12, 768, 64, 16384, 1024, 4.0},
    {24, 1024, 64, 32768, 1024, 4.3},
}};

RunConfig config_for(const RunConfig& base, const Rung& rung, double tokens) {
  RunConfig c = base;
  c.model.layers = rung.layers;
  c.model.d_model = rung.d_model;
  c.model.heads = rung.d_model / rung.head_dim;
  c.model.kv_heads = c.model.head_dim = c.model.d_ff = 0;
  c.model.context = rung.context;
  c.model.vocabulary = 0;
  c.data.tokenizer = fmt::format("bpe:{}", rung.vocabulary);
  c.schedule.budget.clear();
  c.schedule.tokens = c.schedule.tokens_per_parameter = 0;
  c.schedule.micro_batch = c.schedule.slots = 0;
  const Recipe recipe = measured_recipe(c.model, tokens);
  c.schedule.batch_tokens = recipe.batch_tokens;
  c.schedule.steps =
      std::max<int64_t>(20, std::llround(tokens / static_cast<double>(c.schedule.batch_tokens)));
  c.eval.every = std::max<int64_t>(1, c.schedule.steps / 10);
  c.eval.sample_every = std::max<int64_t>(1, c.schedule.steps / 5);
  c.schedule.decay = "linear";
  c.schedule.final_lr_fraction = 0;
  c.schedule.warmup = "2%";
  c.optimizer.lr = recipe.lr;
  c = resolved(c);
  c.model.vocabulary = rung.vocabulary;
  return c;
}

int64_t parameters_of(const RunConfig& config) {
  return parameter_count(make_param_table(config.model));
}

}  // namespace

double measure_tokens_per_s(const RunConfig& config, Backend& backend, double seconds) {
  const ParamTable table = make_parametrized_table(config);
  const BatchPlan plan = batch_plan(config);
  TrainStep step(config, plan, table, backend);
  step.fill_parameters(
      [&](ParamBuffer& parameters) { initialize_parameters(table, 1, parameters); });
  const SequenceSource random = random_source(config.model.vocabulary, 1);
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  const Clock::time_point start = Clock::now();
  for (int64_t i = 0;; ++i) {
    const Clock::time_point before = Clock::now();
    step.run(i, 1e-4, random);
    const Clock::time_point after = Clock::now();
    if (i > 0)
      times.push_back(std::chrono::duration<double>(after - before).count());  // the first is cold
    if (times.size() >= 3 && after - start > std::chrono::duration<double>(seconds)) break;
  }
  std::sort(times.begin(), times.end());
  return static_cast<double>(plan.tokens()) / times[times.size() / 2];
}

BudgetChoice choose_for_budget(const RunConfig& base,
                               double seconds,
                               double text_bytes,
                               double tokens_per_parameter,
                               Backend& backend,
                               const std::function<void(const std::string&)>& note) {
  const double unknown = std::numeric_limits<double>::infinity();
  BudgetChoice best;
  for (const Rung& rung : kLadder) {
    const double unique = text_bytes > 0 ? text_bytes / rung.bytes_per_token : unknown;
    RunConfig config = config_for(base, rung, seconds * 20000);  // only the shape matters here
    const double wanted = tokens_per_parameter * static_cast<double>(parameters_of(config));
    if (best.parameters > 0 && wanted > kMostEpochs * unique) {
      best.limited_by_text = true;
      break;
    }
    // A rung that is far out of reach at the last one's speed need not be measured.
    const double likely = best.tokens_per_s * static_cast<double>(best.parameters) /
                          static_cast<double>(parameters_of(config)) * 1.5;
    if (best.parameters > 0 && likely * seconds * kStepShare < wanted) break;
    const double speed = measure_tokens_per_s(config, backend, 0.6);
    const double reachable = speed * seconds * kStepShare;
    if (best.parameters > 0 && reachable < wanted) break;
    const double tokens = std::min(reachable, kMostEpochs * unique);
    best.config = config_for(base, rung, tokens);
    best.parameters = parameters_of(best.config);
    best.tokens =
        static_cast<double>(best.config.schedule.steps * best.config.schedule.batch_tokens);
    best.tokens_per_s = speed;
    best.seconds = best.tokens / speed / kStepShare;
    best.epochs = best.tokens / unique;
    note(fmt::format("{} parameters: {} tokens/s, {:.0f} tokens per parameter in the time",
                     human_count(static_cast<double>(best.parameters)), human_count(speed),
                     reachable / static_cast<double>(best.parameters)));
  }
  return best;
}

}  // namespace isoflop
