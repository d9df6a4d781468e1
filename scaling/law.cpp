#include "scaling/law.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace isoflop {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kPublishedTokensPerParameter = 20;  // of the Cerebras-GPT family

double optimum_ratio(const LawTerms& t) {  // G
  return std::pow(t.alpha * t.A / (t.beta * t.B), 1 / (t.alpha + t.beta));
}

/// Where f is least between two logarithms; f has one minimum there.
template <class Function>
double least(double low, double high, Function f) {
  const double golden = (std::sqrt(5.0) - 1) / 2;
  double a = low, b = high;
  double c = b - golden * (b - a), d = a + golden * (b - a);
  double fc = f(c), fd = f(d);
  while (b - a > 1e-10) {
    // Equal and infinite on both sides: the finite part lies to the right (larger models).
    if (fc < fd) {
      b = d;
      d = c;
      fd = fc;
      c = b - golden * (b - a);
      fc = f(c);
    } else {
      a = c;
      c = d;
      fc = fd;
      d = a + golden * (b - a);
      fd = f(d);
    }
  }
  return (a + b) / 2;
}

/// What n units out of `unique` ones are worth: unique (1 + R* (1 - e^(-R/R*))), R = n/unique - 1.
double worth(double n, double unique, double star) {
  if (n <= unique) return n;
  return unique * (1 + star * (1 - std::exp(-(n / unique - 1) / star)));
}

}  // namespace

double LawTerms::loss(double parameters, double tokens) const {
  return E + A * std::pow(parameters, -alpha) + B * std::pow(tokens, -beta);
}

LawOptimum optimum_of(const LawTerms& terms, double flops) {
  const double g = optimum_ratio(terms), share = terms.beta / (terms.alpha + terms.beta);
  const double n = g * std::pow(flops / 6, share), d = std::pow(flops / 6, 1 - share) / g;
  return {n, d, terms.loss(n, d)};
}

double optimal_tokens(const LawTerms& terms, double parameters) {
  return std::pow(parameters / optimum_ratio(terms), terms.alpha / terms.beta) /
         optimum_ratio(terms);
}

double optimal_parameters(const LawTerms& terms, double tokens) {
  const double g = optimum_ratio(terms);
  return std::pow(tokens * g, terms.beta / terms.alpha) * g;
}

double tokens_ratio_at_equal_loss(const LawTerms& terms, double size_ratio) {
  const double rest = 1 - (std::pow(size_ratio, -terms.alpha) - 1) * terms.beta / terms.alpha;
  return rest > 0 ? std::pow(rest, -1 / terms.beta) : kInfinity;
}

LawOptimum inference_optimum(const LawTerms& terms, double loss, double inference_tokens) {
  if (!(loss > terms.E))
    fail_user("no model reaches a loss of {:.4g}: the law ends at {:.4g}", loss, terms.E);
  const auto tokens = [&](double n) {
    const double rest = loss - terms.E - terms.A * std::pow(n, -terms.alpha);
    return rest > 0 ? std::pow(terms.B / rest, 1 / terms.beta) : kInfinity;
  };
  // Below this size no number of tokens is enough.
  const double smallest = std::log(terms.A / (loss - terms.E)) / terms.alpha;
  const double n = std::exp(least(smallest, smallest + 30, [&](double x) {
    const double size = std::exp(x);
    return std::log(size) + std::log(6 * tokens(size) + 2 * inference_tokens);
  }));
  return {n, tokens(n), loss};
}

double effective_tokens(double tokens, double unique, const RepeatTerms& repeats) {
  return worth(tokens, unique, repeats.tokens);
}

double data_constrained_loss(const LawTerms& terms,
                             double parameters,
                             double tokens,
                             double unique,
                             const RepeatTerms& repeats) {
  const double enough = optimal_parameters(terms, unique);
  return terms.loss(worth(parameters, enough, repeats.parameters),
                    worth(tokens, unique, repeats.tokens));
}

LawOptimum data_constrained_optimum(const LawTerms& terms,
                                    double flops,
                                    double unique,
                                    const RepeatTerms& repeats) {
  const double all = std::log(flops / 6);
  const double n = std::exp(least(0, all, [&](double x) {
    const double size = std::exp(x);
    return data_constrained_loss(terms, size, flops / 6 / size, unique, repeats);
  }));
  const double d = flops / 6 / n;
  return {n, d, data_constrained_loss(terms, n, d, unique, repeats)};
}

double critical_batch_tokens(double parameters) {
  return 512 * 93.20 * std::pow(parameters / 1e6, 0.47);
}

double LossLaw::loss(double parameters, double tokens, double unique) const {
  const bool repeated = unique > 0 && tokens > unique;
  if (repeated && repeats) return data_constrained_loss(terms, parameters, tokens, unique);
  // Other laws know no repeats; what those tokens are worth is the data-constrained one's.
  const double fresh = repeated ? effective_tokens(tokens, unique) : tokens;
  if (is_power())
    return std::pow(6 * parameters * fresh / power.scale, power.exponent) + power.floor;
  return terms.loss(parameters, fresh);
}

LawOptimum LossLaw::optimum(double flops) const {
  if (!is_power()) return optimum_of(terms, flops);
  const double n = std::sqrt(flops / 6 / kPublishedTokensPerParameter);
  const double d = kPublishedTokensPerParameter * n;
  return {n, d, loss(n, d)};
}

double LossLaw::tokens_for(double parameters) const {
  return is_power() ? kPublishedTokensPerParameter * parameters : optimal_tokens(terms, parameters);
}

double LossLaw::parameters_for(double tokens) const {
  return is_power() ? tokens / kPublishedTokensPerParameter : optimal_parameters(terms, tokens);
}

LossRange loss_range(const LossLaw& law, double parameters, double tokens, double unique) {
  constexpr double k80 = 1.2815515655446004;  // standard deviations on each side of 80 %
  std::vector<double> losses = {law.loss(parameters, tokens, unique)};
  if (law.resampled.empty()) {
    for (const std::string& name : law_names()) {
      const LossLaw other = find_law(name);
      if (!other.is_power()) losses.push_back(other.loss(parameters, tokens, unique));
    }
    std::sort(losses.begin(), losses.end());
    return {losses.front() * std::exp(-k80 * law.residual),
            losses.back() * std::exp(k80 * law.residual)};
  }
  // A normal spread of the resampled laws, and the runs' own about them: variances of ln L add.
  const double center = std::log(losses.front());
  double variance = 0;
  for (const LawTerms& terms : law.resampled) {
    LossLaw one = law;
    one.terms = terms;
    const double away = std::log(one.loss(parameters, tokens, unique)) - center;
    variance += away * away / static_cast<double>(law.resampled.size());
  }
  const double deviation = std::sqrt(variance + law.residual * law.residual);
  return {std::exp(center - k80 * deviation), std::exp(center + k80 * deviation)};
}

}  // namespace isoflop
