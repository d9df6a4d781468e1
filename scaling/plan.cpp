#include "scaling/plan.hpp"

#include "core/error.hpp"
#include "parallel/slot_tree.hpp"
#include "pretrain/config/quantity.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/optim/optimizer.hpp"
#include "pretrain/train/prepare.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace isoflop {

namespace {

constexpr double kUsableMemory = 0.9;  // the rest is the driver's, libraries' and fragments
constexpr double kBelowCritical = 0.5;
/// What 4 bits add to the loss, in nats: LLaMA-7B from F16 to Q4_K_M and to Q4_0, by the table of
/// perplexities that llama.cpp's quantizer prints. Small models lose more: certify measures it.
constexpr LossRange kFourBits = {0.009, 0.041};

/// Of training, when the budget is a time or money; else there is no limit.
double seconds_of(const PlanRequest& request) {
  const Hardware& h = request.hardware;
  if (request.budget.kind == Budget::Kind::seconds) return request.budget.amount;
  if (request.budget.kind == Budget::Kind::usd)
    return request.budget.amount / (h.usd_per_hour * static_cast<double>(h.devices())) * 3600;
  return std::numeric_limits<double>::infinity();
}

/// FLOPs that a budget buys for a model of this size; of tokens, none.
double flops_of(const PlanRequest& request, double parameters) {
  const Hardware& h = request.hardware;
  switch (request.budget.kind) {
    case Budget::Kind::flops:
      return request.budget.amount;
    case Budget::Kind::seconds:
    case Budget::Kind::usd:
      return seconds_of(request) * h.training_flops(parameters);
    case Budget::Kind::tokens:
      break;
  }
  return 0;
}

LawOptimum law_optimum(const PlanRequest& request) {
  const LossLaw& law = request.law;
  if (request.budget.kind == Budget::Kind::tokens) {
    const double d = request.budget.amount, n = law.parameters_for(d);
    return {n, d, law.loss(n, d)};
  }
  // The speed depends on the size, a little; twice around is enough.
  LawOptimum best = law.optimum(flops_of(request, 1e8));
  for (int i = 0; i < 2; ++i) best = law.optimum(flops_of(request, best.parameters));
  if (law.repeats && request.unique_tokens > 0)
    best = data_constrained_optimum(law.terms, 6 * best.parameters * best.tokens,
                                    request.unique_tokens);
  return best;
}

struct Candidate {
  ModelConfig model;
  double parameters = 0, law_parameters = 0, tokens = 0, score = 0;
  double most_seconds = 0;  // of training
};

/// Best first: the predicted loss where the budget fixes what is spent, the distance from the law's
/// size where it fixes the tokens; a shape far from 64 wide per layer must be worth it. None trains
/// for more than `most_seconds`.
std::vector<Candidate> ranked(const PlanRequest& request,
                              const LawOptimum& optimum,
                              double most_seconds) {
  std::vector<Candidate> candidates;
  for (const ModelConfig& model : planned_shapes(request.shapes)) {
    Candidate c{model, 0, 0, 0, 0, std::min(most_seconds, seconds_of(request))};
    c.parameters = static_cast<double>(count_parameters(model, ParameterCount::all));
    c.law_parameters = static_cast<double>(count_parameters(model, request.law.counts));
    const bool fixed = request.budget.kind == Budget::Kind::tokens;
    const double per_token = training_flops_per_token(model);
    c.tokens = std::min(fixed ? request.budget.amount : flops_of(request, c.parameters) / per_token,
                        most_seconds * request.hardware.training_flops(c.parameters) / per_token);
    const double aspect =
        std::log(static_cast<double>(model.d_model) / static_cast<double>(model.layers) / 64);
    if (fixed || request.law.is_power())
      c.score = std::abs(std::log(c.law_parameters / request.law.parameters_for(c.tokens)));
    else
      c.score = std::log(request.law.loss(c.law_parameters, c.tokens, request.unique_tokens) /
                         optimum.loss);
    c.score += 0.003 * aspect * aspect;
    candidates.push_back(std::move(c));
  }
  std::sort(candidates.begin(), candidates.end(),
            [](const Candidate& a, const Candidate& b) { return a.score < b.score; });
  return candidates;
}

/// Of one rank of `layout`, as training holds it: masters and compute copies of its stage's
/// weights, gradients for every sum of slots that is open at once and for those that arrive, and
/// its share of the moments.
std::vector<MemoryRow> memory_of_rank(const Plan& plan, const GridLayout& layout) {
  RunConfig config = plan.config;
  config.compute.recompute = layout.recompute;
  const double cut = static_cast<double>(layout.tp * layout.pp);
  const double local = static_cast<double>(plan.parameters) / cut;
  const double copies = static_cast<double>(layout.dp);
  const BlockShape shape{config.schedule.micro_batch * config.model.context,
                         parse_recompute(layout.recompute), true};
  const double activations =
      static_cast<double>(plan_activations(config.model, shape, DType::bf16, DType::f32).bytes());
  const int64_t slots = config.schedule.slots;
  const int ranks = static_cast<int>(layout.dp);
  int64_t open = 1;
  for (int rank = 0; rank < ranks; ++rank)
    open = std::max(open, most_open_sums(slots, slots_of(slots, rank, ranks)));
  const auto sums = static_cast<double>(tree_parts(slots, ranks).size());
  const auto moment_bytes =
      2 * static_cast<double>(size_of(moment_dtype(config.optimizer, DType::f32)));
  const auto bytes = [](double value) { return static_cast<size_t>(value); };
  // A pipeline keeps pp micro-batches in flight, each of 1/pp of the layers.
  return {{"weights in bf16", bytes(2 * local)},
          {"masters", bytes(4 * local)},
          {"moments", bytes(moment_bytes * local / copies)},
          {"gradients", bytes(4 * local * static_cast<double>(open))},
          {"gradients of others", bytes(4 * local * (sums - sums / copies) / copies)},
          {"activations", bytes(activations / static_cast<double>(layout.tp))}};
}

void lay_out(const PlanRequest& request, Plan& plan) {
  const Hardware& h = request.hardware;
  const double usable = kUsableMemory * h.memory_bytes;
  if (h.peak_flops == 0) {  // here: what a launch is held to
    plan.memory = plan_memory(plan.config, make_param_table(plan.config.model),
                              batch_plan(plan.config), DType::bf16, DType::f32);
    plan.fits = plan.memory_bytes() <= usable;
    return;
  }
  const int64_t sequences = plan.config.schedule.batch_tokens / plan.config.model.context;
  for (int64_t pp = 1; pp <= std::min(h.nodes, plan.config.model.layers); pp *= 2)
    for (int64_t tp = 1; tp <= h.per_node; tp *= 2) {
      const ModelConfig& model = plan.config.model;
      if (h.devices() % (tp * pp) != 0 || std::gcd(model.heads, model.kv_heads) % tp != 0 ||
          model.d_ff % tp != 0)
        continue;
      const int64_t dp = h.devices() / (tp * pp);
      if (dp > sequences) continue;  // a rank without a sequence
      plan.config.parallel.tp = tp;
      plan.config.parallel.pp = pp;
      plan.config.schedule.slots = 0;
      plan.config = resolved(plan.config, dp);
      const auto fits = [&](const char* recompute) {
        plan.layout = {dp, tp, pp, recompute};
        plan.memory = memory_of_rank(plan, plan.layout);
        plan.fits = plan.memory_bytes() <= usable;
        plan.config.compute.recompute = recompute;
        return plan.fits;
      };
      if (!fits("block")) continue;  // nor does any that computes less again
      for (const char* recompute : {"none", "cheap", "ffn", "block"})
        if (fits(recompute)) return;
    }
}

StepTerms terms_of(const Hardware& hardware, const Plan& plan) {
  const GridLayout& l = plan.layout;
  const GridShape grid{static_cast<int>(l.dp), static_cast<int>(l.tp), static_cast<int>(l.pp)};
  const ModelConfig& model = plan.config.model;
  const double stage = largest_stage(make_param_table(model), model.layers, grid.pp) / grid.tp;
  return step_terms({model, batch_plan(plan.config), grid, stage},
                    speed_of(hardware, static_cast<double>(plan.parameters)), wires_of(hardware));
}

void warn(const PlanRequest& request, Plan& plan) {
  const LossLaw& law = request.law;
  const double seen = 6 * plan.law_parameters * plan.tokens;
  const double beyond = seen > law.flops_high ? seen / law.flops_high : law.flops_low / seen;
  if (beyond > 10)
    plan.warnings.push_back(
        fmt::format("{:.3g} FLOPs are {:.3g} times {} than the runs that law {} was fitted on; the "
                    "loss is an extrapolation",
                    seen, beyond, seen > law.flops_high ? "more" : "less", law.name));
  if (law.resampled.empty())
    plan.warnings.push_back(
        fmt::format("law {} is of another text and tokenizer: it chooses a size well and promises "
                    "a loss badly; fit your own runs (isoflop fit)",
                    law.name));
  if (plan.seconds > kLongestSeconds && request.budget.kind != Budget::Kind::seconds)
    plan.warnings.push_back(fmt::format("training takes {:.3g} years on {}",
                                        plan.seconds / kLongestSeconds, request.hardware.name));
  const double epochs = request.unique_tokens > 0 ? plan.tokens / request.unique_tokens : 1;
  if (epochs > 1.01) {
    const double worth = effective_tokens(plan.tokens, request.unique_tokens) / plan.tokens;
    plan.warnings.push_back(
        fmt::format("the text is read {:.3g} times; its tokens are worth {:.0f} % of fresh ones{}",
                    epochs, 100 * worth, epochs > 16 ? ", and more repeats hardly help" : ""));
  }
}

/// The run of a candidate, or nothing below one step, nor when it has to fit and does not.
std::optional<Plan> plan_of(const PlanRequest& request, const Candidate& c, bool must_fit) {
  Plan plan;
  plan.critical_batch = critical_batch_tokens(c.law_parameters);
  const Recipe recipe = recipe_for(c.model, c.tokens, kBelowCritical * plan.critical_batch);
  RunConfig& run = plan.config;
  run.model = c.model;
  run.schedule.batch_tokens = recipe.batch_tokens;
  run.schedule.steps = 1;  // for now
  run.schedule.decay = "linear";
  run.schedule.final_lr_fraction = 0;
  run.schedule.warmup = "2%";
  run.optimizer.lr = recipe.lr;
  run.optimizer.state = request.state;
  run.data.tokenizer = fmt::format("bpe:{}", c.model.vocabulary);
  if (request.hardware.devices() > 1) run.schedule.micro_batch = 1;
  run = resolved(run);
  plan.parameters = static_cast<int64_t>(c.parameters);
  lay_out(request, plan);
  if (must_fit && !plan.fits) return std::nullopt;
  plan.step = terms_of(request.hardware, plan);
  run.schedule.steps =
      static_cast<int64_t>(std::min(c.tokens / static_cast<double>(recipe.batch_tokens),
                                    c.most_seconds / plan.step.step() * (1 + 1e-9)));
  if (run.schedule.steps < 1) return std::nullopt;
  plan.recipe = recipe.source;
  plan.steps = run.schedule.steps;
  plan.warmup_steps = make_schedule(run, plan.steps).warmup;
  plan.law_parameters = c.law_parameters;
  plan.tokens = static_cast<double>(plan.steps * run.schedule.batch_tokens);
  plan.flops = plan.tokens * training_flops_per_token(c.model);
  const Hardware& h = request.hardware;
  plan.seconds = static_cast<double>(plan.steps) * plan.step.step();
  plan.usd = plan.seconds / 3600 * h.usd_per_hour * static_cast<double>(h.devices());
  plan.loss = request.law.loss(c.law_parameters, plan.tokens, request.unique_tokens);
  plan.range = loss_range(request.law, c.law_parameters, plan.tokens, request.unique_tokens);
  if (!request.law.is_power() && request.unique_tokens == 0)  // else no curve over the tokens
    run.plan = {.loss = plan.loss,
                .loss_low = plan.range.low,
                .loss_high = plan.range.high,
                .floor = request.law.terms.E +
                         request.law.terms.A / std::pow(c.law_parameters, request.law.terms.alpha),
                .exponent = request.law.terms.beta,
                .law = request.law.name};
  plan.range_4bit = {plan.range.low + kFourBits.low, plan.range.high + kFourBits.high};
  if (request.runs_on)
    plan.on_device = fit_on_device(*request.runs_on, plan.config.model,
                                   weights_of_shape(plan.config.model), plan.config.model.context);
  warn(request, plan);
  return plan;
}

/// The best candidate that is at least one step, and where asked for feasible.
std::optional<Plan> first_plan(const PlanRequest& request,
                               const std::vector<Candidate>& candidates,
                               bool feasible) {
  for (const Candidate& c : candidates) {
    std::optional<Plan> plan = plan_of(request, c, feasible);
    if (plan && (!feasible || plan->feasible())) return plan;
  }
  return std::nullopt;
}

}  // namespace

double Plan::memory_bytes() const {
  double sum = 0;
  for (const MemoryRow& row : memory) sum += static_cast<double>(row.bytes);
  return sum;
}

Budget parse_budget(const std::string& text) {
  std::string_view rest = text;
  double number = 0;
  if (take_number(rest, number) && number > 0) {
    if (rest == "usd" || rest == "USD") return {Budget::Kind::usd, number};
    for (const char* word : {"flop", "flops", "FLOP", "FLOPs"}) {
      const std::string_view unit = word;
      constexpr std::string_view kPrefixes = "kMGTPE";
      if (rest == unit) return {Budget::Kind::flops, number};
      const size_t prefix = rest.empty() ? kPrefixes.npos : kPrefixes.find(rest[0]);
      if (prefix != kPrefixes.npos && rest.substr(1) == unit)
        return {Budget::Kind::flops, number * std::pow(1000, static_cast<double>(prefix + 1))};
    }
    if (rest.find("tok") != rest.npos)
      return {Budget::Kind::tokens, parse_tokens(text, "--budget")};
    if (!rest.empty() && std::string_view("smhd").find(rest[0]) != std::string_view::npos)
      return {Budget::Kind::seconds, parse_seconds(text, "--budget")};
  }
  fail_user("--budget {}: write FLOPs (1e18flop), tokens (2.2Gtok), a time (30m) or money (50usd)",
            text);
}

PlanResult make_plan(const PlanRequest& request) {
  PlanResult result;
  result.optimum = law_optimum(request);
  constexpr double kAnyTime = std::numeric_limits<double>::infinity();
  std::optional<Plan> best =
      first_plan(request, ranked(request, result.optimum, kAnyTime), /*feasible=*/false);
  if (!best) fail_user("the budget does not pay for one step of the smallest model; raise it");
  result.plan = *std::move(best);
  if (!result.plan.feasible()) {
    const bool asked = request.budget.kind == Budget::Kind::seconds;
    result.nearest =
        first_plan(request, ranked(request, result.optimum, asked ? kAnyTime : kLongestSeconds),
                   /*feasible=*/true);
  }
  if (request.inference_tokens > 0 && !request.law.is_power())
    result.for_inference =
        inference_optimum(request.law.terms, result.optimum.loss, request.inference_tokens);
  return result;
}

}  // namespace isoflop
