#include "muP/parametrization.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

ParametrizationKind parse_parametrization(std::string_view text) {
  if (text == "sp") return ParametrizationKind::sp;
  if (text == "mup") return ParametrizationKind::mup;
  if (text == "completep") return ParametrizationKind::completep;
  fail_user("parametrization \"{}\" is none of sp, mup and completep", text);
}

static double growth(const Parametrization& p, Fan fan) {
  return fan == Fan::feed_forward ? p.feed_forward : p.width;
}

// The table. All of it multiplies what sp has; l = 1 under mup.
//
//                        variance   rate              epsilon         decay (independent)
//   embedding, output    1          1                 1/m             1
//   hidden               1/fan      1/fan l^(a-1)     1/m l^-a        fan
//   vector in a block    (constant) l^(a-1)           1/m l^-a        -
//   vector outside       (constant) 1                 1/m             -
//
//   hidden by Muon       1/fan      u l^(a-1)         -               1/u
//
//   fan = m, of the matrix whose inputs are the feed-forward part f; out likewise of its outputs.
//   u: the change of a matrix must have a spectral norm that grows as sqrt(rows / cols) (Yang et
//   al. 2023, arXiv:2310.17813). Muon's has 0.2 sqrt(max(rows, cols)), so
//   u = sqrt(out / fan) sqrt(max(base rows, base cols) / max(rows, cols)): 1/sqrt(m) when all grow.
//   Forward: logits 1/m, attention 1/head_dim instead of 1/sqrt(head_dim), branches l^-a.
ParamRule rule_of(const Parametrization& p, const ParamSpec& spec) {
  ParamRule rule;
  if (p.kind == ParametrizationKind::sp) return rule;
  const double depth = p.kind == ParametrizationKind::completep ? p.depth : 1;
  const bool in_block = spec.stage_block >= 0 && spec.stage_block < p.layers;
  rule.epsilon = 1 / p.width;
  if (in_block) {
    rule.rate = std::pow(depth, p.alpha - 1);
    rule.epsilon *= std::pow(depth, -p.alpha);
  }
  if (spec.role == ParamRole::hidden) {
    const double fan = growth(p, spec.fan_in), out = growth(p, spec.fan_out);
    const double rows = static_cast<double>(spec.rows), cols = static_cast<double>(spec.cols);
    const double slower =
        spec.update == Update::muon
            ? std::sqrt(fan / out * std::max(rows, cols) / std::max(rows / out, cols / fan))
            : fan;
    rule.variance = 1 / fan;
    rule.rate /= slower;
    if (p.independent_decay) rule.decay = slower;
  }
  if (!p.scaled_epsilon) rule.epsilon = 1;
  return rule;
}

ParamRule reparametrized(ParamRule rule, double theta) {
  rule.multiplier *= theta;
  rule.variance /= theta * theta;
  rule.rate /= theta;
  rule.epsilon *= theta;  // the gradient of w is theta times that of W / multiplier
  rule.decay *= theta;    // rate x decay stays
  return rule;
}

void parametrize(const Parametrization& p, ParamTable& table) {
  for (ParamSpec& spec : table) {
    const ParamRule rule = rule_of(p, spec);
    spec.init_std *= std::sqrt(rule.variance);
    spec.lr_scale = rule.rate;
    spec.eps_scale = rule.epsilon;
    spec.decay_scale = rule.decay;
  }
}

ForwardMultipliers forward_multipliers(const Parametrization& p,
                                       const ForwardMultipliers& tuned,
                                       int64_t head_dim) {
  ForwardMultipliers result = tuned;
  if (p.kind == ParametrizationKind::sp) return result;
  result.output /= p.width;
  result.attention /= std::sqrt(static_cast<double>(head_dim));
  if (p.kind == ParametrizationKind::completep) result.residual *= std::pow(p.depth, -p.alpha);
  return result;
}

}  // namespace isoflop
