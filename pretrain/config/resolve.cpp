#include "pretrain/config/resolve.hpp"

#include "core/math.hpp"
#include "datasets/tokenizer/spec.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/quantity.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/optim/schedule.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

constexpr int64_t kMicroBatchTokens =
    4096;  // what keeps the matrix products busy without much memory
constexpr int64_t kSlotTokens = 1024;
constexpr int64_t kMostSlots = 8;

double rotary_fraction(const ModelConfig& model) {
  if (!has_rope(model.arch)) return 0;
  if (model.rotary_fraction > 0) return model.rotary_fraction;
  return model.arch == Arch::pythia ? 0.25 : 1;
}

void check_shapes(const ModelConfig& model) {
  const int64_t heads = model.heads;
  if (!model.head_dim && model.d_model % heads != 0) {
    const int64_t below = std::max(heads, model.d_model / heads * heads);
    fail_user(
        "model.d_model = {} is not a multiple of model.heads = {}; use {} or {}, or set "
        "model.head_dim",
        model.d_model, heads, below, round_up(model.d_model, heads));
  }
  const int64_t head_dim = model.head_dim ? model.head_dim : model.d_model / heads;
  if (has_rope(model.arch)) {
    const double fraction = rotary_fraction(model);
    const auto rotary = static_cast<int64_t>(fraction * static_cast<double>(head_dim) + 1e-9);
    if (rotary < 2 || rotary % 2 != 0)
      fail_user(
          "{} turns pairs of a head's entries, so their number must be even and not 0, but {} of "
          "{} "
          "are {} (model.d_model = {} over model.heads = {}); change one of them, "
          "model.rotary_fraction or model.head_dim",
          name_of(model.arch), fraction, head_dim, rotary, model.d_model, heads);
  }
  if (model.kv_heads && heads % model.kv_heads != 0) {
    fail_user(
        "model.kv_heads = {} does not divide model.heads = {}; every key/value head serves the "
        "same number of query heads",
        model.kv_heads, heads);
  }
}

/// Of a model whose run file says nothing.
int64_t automatic_d_ff(Arch arch, int64_t d_model) {
  return is_llama(arch) ? round_up(div_ceil(8 * d_model, 3), 32) : 4 * d_model;
}

/// The base model's d_ff follows from the same rule, rounding included, so that d_ff / base_d_ff is
/// what the two models really have.
void resolve_d_ff(RunConfig& config) {
  ModelConfig& model = config.model;
  ParametrizationConfig& p = config.parametrization;
  if (model.d_ff) return;
  model.d_ff = automatic_d_ff(model.arch, model.d_model);
  if (p.kind != "sp" && p.base_d_model && !p.base_d_ff)
    p.base_d_ff = automatic_d_ff(model.arch, p.base_d_model);
}

void check_length(const ScheduleConfig& schedule) {
  const int given = (schedule.tokens_per_parameter > 0) + (schedule.tokens > 0) +
                    (schedule.steps > 0) + !schedule.budget.empty();
  if (given == 1) return;
  fail_user(
      "{} says how long the run is; set exactly one of schedule.tokens_per_parameter (20 is "
      "compute-optimal), schedule.tokens, schedule.steps or schedule.budget (\"30m\")",
      given == 0 ? "nothing" : "more than one key");
}

/// The step must divide into `unit` tokens; names the nearest batches that do.
[[noreturn]] void refuse_batch(int64_t batch_tokens, int64_t unit, const std::string& unit_text) {
  const int64_t below = batch_tokens / unit * unit;
  const int64_t above = below + unit;
  if (below == 0) {
    fail_user(
        "schedule.batch_tokens = {} is less than one step can be ({} = {} tokens); set "
        "schedule.batch_tokens={}",
        batch_tokens, unit_text, unit, unit);
  }
  const int64_t nearest = batch_tokens - below <= above - batch_tokens ? below : above;
  fail_user(
      "schedule.batch_tokens = {} is not a multiple of {} = {}; the nearest is {} (set "
      "schedule.batch_tokens={}, the other neighbour is {})",
      batch_tokens, unit_text, unit, nearest, nearest, nearest == below ? above : below);
}

/// Largest S <= kMostSlots that cuts `sequences` into equal slots, each whole micro-batches of
/// `micro` (1 when that is still open) and at least kSlotTokens long. When that is less than a slot
/// for each copy: the smallest S that is not, however short its slots, if there is one.
int64_t automatic_slots(int64_t sequences, int64_t micro, int64_t context, int64_t copies) {
  const auto cuts = [&](int64_t slots) { return sequences % (slots * micro) == 0; };
  int64_t usual = kMostSlots;
  while (usual > 1 && !(cuts(usual) && sequences / usual * context >= kSlotTokens)) --usual;
  if (usual >= copies) return usual;
  for (int64_t slots = copies; slots * micro <= sequences; ++slots)
    if (cuts(slots)) return slots;
  return usual;
}

int64_t automatic_micro_batch(int64_t slot_sequences, int64_t context) {
  const int64_t most = std::clamp<int64_t>(kMicroBatchTokens / context, 1, slot_sequences);
  for (int64_t micro = most; micro > 1; --micro) {
    if (slot_sequences % micro == 0) return micro;
  }
  return 1;
}

void resolve_batch(const ModelConfig& model, ScheduleConfig& schedule, int64_t copies) {
  const int64_t context = model.context;
  const int64_t slots = std::max<int64_t>(schedule.slots, 1);
  const int64_t micro = std::max<int64_t>(schedule.micro_batch, 1);
  uint64_t unit = 0;
  const bool fits =
      checked_multiply(static_cast<uint64_t>(slots * micro), static_cast<uint64_t>(context), unit);
  if (!fits || unit > (uint64_t{1} << 53)) {
    fail_user(
        "schedule.slots x schedule.micro_batch x model.context = {} x {} x {} is absurdly large",
        slots, micro, context);
  }
  if (schedule.batch_tokens % static_cast<int64_t>(unit) != 0) {
    std::string text = schedule.slots ? fmt::format("{} slots x ", slots) : "";
    if (schedule.micro_batch) text += fmt::format("micro-batch of {} x ", micro);
    refuse_batch(schedule.batch_tokens, static_cast<int64_t>(unit),
                 text + fmt::format("context {}", context));
  }
  const int64_t sequences = schedule.batch_tokens / context;
  if (!schedule.slots) schedule.slots = automatic_slots(sequences, micro, context, copies);
  if (!schedule.micro_batch) {
    schedule.micro_batch = automatic_micro_batch(sequences / schedule.slots, context);
  }
  if (schedule.batch_ramp_from && !schedule.batch_ramp)
    fail_user("schedule.batch_ramp_from is where schedule.batch_ramp starts; give both or neither");
}

}  // namespace

void check_config(const RunConfig& config) {
  check_shapes(config.model);
  check_length(config.schedule);
  batch_plan(resolved(config));
  parse_tokenizer_spec(config.data.tokenizer);
  parse_warmup(config.schedule.warmup);
  if (!config.schedule.budget.empty()) {
    parse_seconds(config.schedule.budget, "schedule.budget");
    if (config.schedule.batch_ramp > 0)
      fail_user(
          "schedule.batch_ramp needs a run whose length is known; give schedule.tokens instead of "
          "schedule.budget");
  }
  if (config.optimizer.kind == "muon" && config.optimizer.state == "bf16")
    fail_user(
        "optimizer.state = \"bf16\" is for AdamW's two moments, and optimizer.kind = \"muon\" has "
        "one, "
        "in fp32; leave one of the two keys out");
  const std::string& name = config.output.name;
  if (name.empty() || name == "." || name == ".." || name.find('/') != name.npos) {
    fail_user("output.name = \"{}\" must be a plain folder name; --out takes a path", name);
  }
}

RunConfig resolved(RunConfig config, int64_t copies) {
  check_shapes(config.model);
  ModelConfig& model = config.model;
  if (!model.kv_heads) model.kv_heads = model.heads;
  if (!model.head_dim) model.head_dim = model.d_model / model.heads;
  resolve_d_ff(config);
  model.rotary_fraction = rotary_fraction(model);
  resolve_parametrization(config);
  resolve_batch(model, config.schedule, copies);
  return config;
}

int64_t planned_steps(const RunConfig& config, int64_t parameters) {
  const ScheduleConfig& schedule = config.schedule;
  if (schedule.steps) return schedule.steps;
  const double tokens = schedule.tokens > 0
                            ? schedule.tokens
                            : schedule.tokens_per_parameter * static_cast<double>(parameters);
  ISOFLOP_CHECK(tokens > 0, "a run whose length is a budget has no planned steps");
  const double steps = std::floor(batch_plan(resolved(config)).steps_of(tokens));
  if (steps > 9007199254740992.0)
    fail_user("the run would take {:g} steps; make it shorter", steps);
  return std::max<int64_t>(1, static_cast<int64_t>(steps));
}

}  // namespace isoflop
