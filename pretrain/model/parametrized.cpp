#include "pretrain/model/parametrized.hpp"

#include "core/error.hpp"
#include "pretrain/model/architecture.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

double ratio(int64_t size, int64_t base) {
  return base > 0 ? static_cast<double>(size) / static_cast<double>(base) : 1;
}

/// One of the model's multipliers takes the value of the rules, unless somebody else set it.
void settle(double& multiplier, double rule, const char* name, bool continued) {
  const bool same = std::abs(multiplier - rule) <= 1e-12 * rule;
  if (!same && continued)
    fail_user(
        "model.init names a model whose {}_multiplier is {}, but [parametrization] would make it "
        "{}; continue it with parametrization.kind = \"sp\"",
        name, multiplier, rule);
  if (!same && multiplier != 1)
    fail_user(
        "model.{0}_multiplier = {1} and [parametrization], which makes it {2}, contradict each "
        "other; set parametrization.{0}_multiplier, which every size shares",
        name, multiplier, rule);
  multiplier = rule;
}

/// Under sp a multiplier is the model's own.
void refuse(double multiplier, const char* name) {
  if (multiplier != 1)
    fail_user(
        "parametrization.{0}_multiplier = {1} belongs to mup and completep; under sp set "
        "model.{0}_multiplier",
        name, multiplier);
}

void require_base(int64_t base, const char* key, const ParametrizationConfig& p) {
  if (base == 0)
    fail_user(
        "parametrization.kind = \"{}\" needs {}: the size at which hyperparameters were tuned, the "
        "same for every model of the family",
        p.kind, key);
}

}  // namespace

Parametrization parametrization_of(const RunConfig& config) {
  const ParametrizationConfig& p = config.parametrization;
  return {.kind = parse_parametrization(p.kind),
          .width = ratio(config.model.d_model, p.base_d_model),
          .feed_forward = ratio(config.model.d_ff, p.base_d_ff),
          .depth = ratio(config.model.layers, p.base_layers),
          .alpha = p.alpha,
          .layers = config.model.layers,
          .independent_decay = p.decay == "independent",
          .scaled_epsilon = p.epsilon == "scaled"};
}

void resolve_parametrization(RunConfig& config) {
  ParametrizationConfig& p = config.parametrization;
  ModelConfig& model = config.model;
  const ForwardMultipliers tuned{p.embedding_multiplier, p.residual_multiplier, p.output_multiplier,
                                 p.attention_multiplier};
  const ParametrizationKind kind = parse_parametrization(p.kind);
  if (kind == ParametrizationKind::sp) {
    refuse(tuned.embedding, "embedding");
    refuse(tuned.residual, "residual");
    refuse(tuned.output, "output");
    refuse(tuned.attention, "attention");
    return;
  }
  require_base(p.base_d_model, "parametrization.base_d_model", p);
  if (kind == ParametrizationKind::completep)
    require_base(p.base_layers, "parametrization.base_layers", p);
  if (p.base_d_ff == 0)
    p.base_d_ff = std::max<int64_t>(
        1, std::llround(static_cast<double>(model.d_ff) * static_cast<double>(p.base_d_model) /
                        static_cast<double>(model.d_model)));
  const ForwardMultipliers rules =
      forward_multipliers(parametrization_of(config), tuned, model.head_dim);
  const bool continued = !model.init.empty();
  settle(model.embedding_multiplier, rules.embedding, "embedding", continued);
  settle(model.residual_multiplier, rules.residual, "residual", continued);
  settle(model.output_multiplier, rules.output, "output", continued);
  settle(model.attention_multiplier, rules.attention, "attention", continued);
}

ParamTable make_parametrized_table(const RunConfig& config) {
  const Parametrization p = parametrization_of(config);
  ParamTable table = make_param_table(config.model);
  if (config.optimizer.kind == "muon")
    for (ParamSpec& spec : table)
      if (spec.role == ParamRole::hidden) spec.update = Update::muon;
  if (p.kind == ParametrizationKind::sp) return table;
  // What the initializer says is meant for the base width. CompleteP's branches shrink by their
  // multiplier, so their last matrices start like all others.
  ModelConfig base = config.model;
  base.d_model = config.parametrization.base_d_model;
  if (p.kind == ParametrizationKind::completep) {
    if (base.initializer == "neox")
      fail_user(
          "completep scales branches by the depth, and so does model.initializer = \"neox\"; set "
          "model.initializer = \"gpt2\" and model.init_std");
    base.initializer = "plain";
  }
  const ParamTable start = make_param_table(base);
  for (size_t i = 0; i < table.size(); ++i) table[i].init_std = start[i].init_std;
  parametrize(p, table);
  return table;
}

}  // namespace isoflop
