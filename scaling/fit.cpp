#include "scaling/fit.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace isoflop {

namespace {

constexpr double kDelta = 1e-3;   // of Huber's loss
constexpr int kFewestPoints = 6;  // one more than the law has numbers
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The runs as the objective reads them: logarithms about their means, which takes away most of the
/// correlation between a coefficient and its exponent.
struct Logs {
  std::vector<double> n, d, loss, weight;  // weight: how often a resampling drew the point
  double mean_n = 0, mean_d = 0;

  explicit Logs(const std::vector<RunPoint>& points) : weight(points.size(), 1.0) {
    const double count = static_cast<double>(points.size());
    for (const RunPoint& p : points) {
      mean_n += std::log(p.parameters) / count;
      mean_d += std::log(p.tokens) / count;
    }
    for (const RunPoint& p : points) {
      n.push_back(std::log(p.parameters) - mean_n);
      d.push_back(std::log(p.tokens) - mean_d);
      loss.push_back(std::log(p.loss));
    }
  }
  size_t size() const { return n.size(); }
};

/// ln E, ln A - alpha mean_n, ln B - beta mean_d, alpha, beta.
using Vector = std::array<double, 5>;
using Matrix = std::array<Vector, 5>;

Vector vector_of(const LawTerms& t, const Logs& logs) {
  const double e = std::log(std::max(t.E, 1e-9));  // E of 0 is ln E of minus infinity
  return {e, std::log(t.A) - t.alpha * logs.mean_n, std::log(t.B) - t.beta * logs.mean_d, t.alpha,
          t.beta};
}

LawTerms terms_of(const Vector& x, const Logs& logs) {
  return {std::exp(x[0]), std::exp(x[1] + x[3] * logs.mean_n), std::exp(x[2] + x[4] * logs.mean_d),
          x[3], x[4]};
}

double huber(double r) {
  const double size = std::abs(r);
  return size <= kDelta ? r * r / 2 : kDelta * (size - kDelta / 2);
}

/// Objective, its gradient, and where asked for the curvature of the reweighted squares.
double evaluate(const Logs& logs, const Vector& x, Vector& gradient, Matrix* curvature = nullptr) {
  gradient = {};
  if (curvature) *curvature = {};
  double sum = 0;
  const double e = std::exp(x[0]);
  for (size_t i = 0; i < logs.size(); ++i) {
    if (logs.weight[i] == 0) continue;
    const double a = std::exp(x[1] - x[3] * logs.n[i]), b = std::exp(x[2] - x[4] * logs.d[i]);
    const double all = e + a + b, r = std::log(all) - logs.loss[i];
    const Vector slope = {e / all, a / all, b / all, -logs.n[i] * a / all, -logs.d[i] * b / all};
    const double push = logs.weight[i] * std::clamp(r, -kDelta, kDelta);
    sum += logs.weight[i] * huber(r);
    for (size_t k = 0; k < 5; ++k) gradient[k] += push * slope[k];
    if (!curvature) continue;
    const double w = logs.weight[i] * std::min(1.0, kDelta / std::max(std::abs(r), 1e-300));
    for (size_t k = 0; k < 5; ++k)
      for (size_t l = 0; l < 5; ++l) (*curvature)[k][l] += w * slope[k] * slope[l];
  }
  return sum;
}

/// The inverse of a symmetric positive matrix, by Gauss-Jordan; a little is added to the diagonal.
Matrix inverse(Matrix m) {
  Matrix out = {};
  for (size_t k = 0; k < 5; ++k) {
    m[k][k] += 1e-12 + 1e-9 * m[k][k];
    out[k][k] = 1;
  }
  for (size_t k = 0; k < 5; ++k) {
    const double pivot = m[k][k];
    for (size_t c = 0; c < 5; ++c) {
      m[k][c] /= pivot;
      out[k][c] /= pivot;
    }
    for (size_t r = 0; r < 5; ++r) {
      if (r == k) continue;
      const double factor = m[r][k];
      for (size_t c = 0; c < 5; ++c) {
        m[r][c] -= factor * m[k][c];
        out[r][c] -= factor * out[k][c];
      }
    }
  }
  return out;
}

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t k = 0; k < 5; ++k) sum += a[k] * b[k];
  return sum;
}

/// The BFGS update of an inverse curvature after a move; false when the move says nothing.
bool update_metric(Matrix& metric, const Vector& moved, const Vector& turned) {
  const double along = dot(moved, turned);
  if (!(along > 1e-300)) return false;
  Vector mapped = {};
  for (size_t k = 0; k < 5; ++k) mapped[k] = dot(metric[k], turned);
  const double scale = (1 + dot(turned, mapped) / along) / along;
  for (size_t k = 0; k < 5; ++k)
    for (size_t l = 0; l < 5; ++l)
      metric[k][l] +=
          scale * moved[k] * moved[l] - (mapped[k] * moved[l] + moved[k] * mapped[l]) / along;
  return true;
}

/// BFGS from `x` with halved steps. Its first metric is that of the reweighted squares, and it goes
/// back to it before it gives up: Huber's loss is nearly an absolute value here, and its creases
/// wear a metric out.
double descend(const Logs& logs, Vector& x) {
  Vector gradient = {}, next_gradient = {};
  Matrix curvature = {};
  double value = evaluate(logs, x, gradient, &curvature);
  Matrix metric = inverse(curvature);
  bool fresh = true;
  for (int iteration = 0; iteration < 400; ++iteration) {
    Vector step = {};
    for (size_t k = 0; k < 5; ++k) step[k] = -dot(metric[k], gradient);
    const double slope = dot(step, gradient);
    double length = 1;
    for (const double s : step) length = std::min(length, 2 / std::max(std::abs(s), 1e-300));
    Vector next = x;
    double next_value = kInfinity;
    for (int halving = 0; halving < 40 && slope < 0; ++halving, length /= 2) {
      for (size_t k = 0; k < 5; ++k) next[k] = x[k] + length * step[k];
      next_value = evaluate(logs, next, next_gradient);
      if (next_value <= value + 1e-4 * length * slope) break;
    }
    bool follows = false;  // the metric can be carried on
    if (next_value < value) {
      Vector moved = {}, turned = {};
      for (size_t k = 0; k < 5; ++k) {
        moved[k] = next[k] - x[k];
        turned[k] = next_gradient[k] - gradient[k];
      }
      follows = value - next_value > 1e-13 * value && update_metric(metric, moved, turned);
      x = next;
      value = next_value;
      gradient = next_gradient;
    }
    if (!follows) {
      if (fresh) break;
      evaluate(logs, x, gradient, &curvature);
      metric = inverse(curvature);
    }
    fresh = !follows;
  }
  return value;
}

/// Least squares of the relative residuals over E, a, b >= 0 (in the centered form) for given
/// exponents: the best of the seven sets of terms that may be positive.
bool solve_inside(const Logs& logs, double alpha, double beta, Vector& x) {
  double normal[3][3] = {}, right[3] = {}, total = 0;
  for (size_t i = 0; i < logs.size(); ++i) {
    const double inverse_loss = std::exp(-logs.loss[i]);
    const double row[3] = {inverse_loss, inverse_loss * std::exp(-alpha * logs.n[i]),
                           inverse_loss * std::exp(-beta * logs.d[i])};
    total += logs.weight[i];
    for (int k = 0; k < 3; ++k) {
      right[k] += logs.weight[i] * row[k];
      for (int l = 0; l < 3; ++l) normal[k][l] += logs.weight[i] * row[k] * row[l];
    }
  }
  double best = total;
  double solution[3] = {};
  for (int set = 1; set < 8; ++set) {
    double m[3][4] = {};
    for (int k = 0; k < 3; ++k) {
      const bool in = set >> k & 1;
      for (int l = 0; l < 3; ++l) m[k][l] = in && (set >> l & 1) ? normal[k][l] : k == l;
      m[k][3] = in ? right[k] : 0;
    }
    bool good = true;
    for (int k = 0; k < 3 && good; ++k) {
      good = std::abs(m[k][k]) > 1e-14 * normal[k][k];
      for (int r = 0; r < 3 && good; ++r) {
        if (r == k) continue;
        const double factor = m[r][k] / m[k][k];
        for (int c = k; c < 4; ++c) m[r][c] -= factor * m[k][c];
      }
    }
    double value = total;
    double found[3] = {};
    for (int k = 0; k < 3 && good; ++k) {
      found[k] = m[k][3] / m[k][k];
      good = found[k] >= 0;
      value -= found[k] * right[k];
    }
    if (!good || value >= best) continue;
    best = value;
    std::copy(found, found + 3, solution);
  }
  // A term of 0 has no logarithm; a millionth of the loss is where the descent can move it from.
  const double floor = 1e-6;
  x = {std::log(std::max(solution[0], floor)), std::log(std::max(solution[1], floor)),
       std::log(std::max(solution[2], floor)), alpha, beta};
  return best < total;
}

LawFit finished(const Logs& logs, const Vector& x, double objective) {
  LawFit fit{terms_of(x, logs), objective, 0};
  double squares = 0;
  for (size_t i = 0; i < logs.size(); ++i) {
    const double all =
        std::exp(x[0]) + std::exp(x[1] - x[3] * logs.n[i]) + std::exp(x[2] - x[4] * logs.d[i]);
    const double r = std::log(all) - logs.loss[i];
    squares += r * r;
  }
  const double freedom = std::max(1.0, static_cast<double>(logs.size()) - 5);
  fit.residual = std::sqrt(squares / freedom);
  return fit;
}

bool is_law(const LawTerms& t) {
  return t.A > 0 && t.B > 0 && t.alpha > 0 && t.beta > 0 && std::isfinite(t.A) &&
         std::isfinite(t.B);
}

void require_enough(const std::vector<RunPoint>& points) {
  if (points.size() < kFewestPoints)
    fail_user(
        "{} runs are too few for a law of five numbers; {} or more are needed, of several "
        "sizes and lengths",
        points.size(), kFewestPoints);
  const auto same = [&](auto member) {
    return std::all_of(points.begin(), points.end(), [&](const RunPoint& p) {
      return std::abs(p.*member / points[0].*member - 1) < 1e-6;
    });
  };
  if (same(&RunPoint::parameters) || same(&RunPoint::tokens))
    fail_user("all runs have the same number of {}; a law needs runs of several sizes and lengths",
              same(&RunPoint::parameters) ? "parameters" : "tokens");
}

}  // namespace

double fit_objective(const LawTerms& terms, const std::vector<RunPoint>& points) {
  double sum = 0;
  for (const RunPoint& p : points)
    sum += huber(std::log(terms.loss(p.parameters, p.tokens)) - std::log(p.loss));
  return sum;
}

LawFit polish_law(const LawTerms& start, const std::vector<RunPoint>& points) {
  const Logs logs(points);
  Vector x = vector_of(start, logs);
  const double value = descend(logs, x);
  return finished(logs, x, value);
}

LawFit fit_law(const std::vector<RunPoint>& points) {
  require_enough(points);
  const Logs logs(points);
  struct Start {
    double value;
    Vector x;
  };
  std::vector<Start> starts;
  for (double alpha = 0.1; alpha < 1.25; alpha += 0.1)
    for (double beta = 0.1; beta < 1.25; beta += 0.1) {
      Start start{};
      Vector ignored;
      if (!solve_inside(logs, alpha, beta, start.x)) continue;
      start.value = evaluate(logs, start.x, ignored);
      starts.push_back(start);
    }
  constexpr size_t kPolished = 6;
  std::sort(starts.begin(), starts.end(),
            [](const Start& a, const Start& b) { return a.value < b.value; });
  double best = kInfinity;
  Vector found = {};
  for (size_t i = 0; i < std::min(kPolished, starts.size()); ++i) {
    Vector x = starts[i].x;
    const double value = descend(logs, x);
    if (value < best && is_law(terms_of(x, logs))) {
      best = value;
      found = x;
    }
  }
  if (best == kInfinity)
    fail_user(
        "no law E + A/N^alpha + B/D^beta with positive exponents fits these losses: they do "
        "not fall with size and tokens");
  return finished(logs, found, best);
}

std::vector<LawTerms> bootstrap_law(const LawFit& fit,
                                    const std::vector<RunPoint>& points,
                                    int count,
                                    uint64_t seed) {
  Logs logs(points);
  const Vector start = vector_of(fit.terms, logs);
  std::vector<LawTerms> laws;
  for (int sample = 0; sample < count; ++sample) {
    const uint64_t stream = rng_stream(RngUse::sampling, static_cast<uint32_t>(sample));
    std::fill(logs.weight.begin(), logs.weight.end(), 0.0);
    for (size_t i = 0; i < points.size(); ++i) {
      const double at = uniform01(seed, stream, i) * static_cast<double>(points.size());
      ++logs.weight[static_cast<size_t>(at)];
    }
    Vector x = start;
    descend(logs, x);
    const LawTerms terms = terms_of(x, logs);
    if (is_law(terms)) laws.push_back(terms);
  }
  return laws;
}

Interval interval_of(std::vector<double> values, double level) {
  ISOFLOP_CHECK(!values.empty(), "an interval of no values");
  std::sort(values.begin(), values.end());
  const auto quantile = [&](double q) {
    const double at = q * static_cast<double>(values.size() - 1);
    const size_t below = static_cast<size_t>(at);
    const size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
  };
  return {quantile((1 - level) / 2), quantile((1 + level) / 2)};
}

namespace {

/// Runs whose FLOPs lie closer than this are no ladder of budgets, and a step between them is none
/// to go on by.
constexpr double kBudgetStep = 1.4;

double largest(const std::vector<RunPoint>& points, double RunPoint::*key) {
  double most = 0;
  for (const RunPoint& p : points) most = std::max(most, p.*key);
  return most;
}

/// Without the runs whose `key` is at least `from`.
std::optional<LeftOut> leave_out(const std::vector<RunPoint>& points,
                                 double RunPoint::*key,
                                 double from) {
  std::vector<RunPoint> rest, left_out;
  for (const RunPoint& p : points) (p.*key >= from ? left_out : rest).push_back(p);
  if (rest.size() < kFewestPoints) return std::nullopt;
  LawFit fit;
  try {
    fit = fit_law(rest);
  } catch (const UserError&) {
    return std::nullopt;  // a single size is left, or no law fits it
  }
  LeftOut out{.from = left_out.front().*key,
              .points = static_cast<int>(left_out.size()),
              .step = left_out.front().*key / largest(rest, key)};
  for (const RunPoint& p : left_out) {
    const double error = fit.terms.loss(p.parameters, p.tokens) / p.loss - 1;
    out.worst_error = std::max(out.worst_error, std::abs(error));
    out.mean_error += error / static_cast<double>(left_out.size());
  }
  return out;
}

}  // namespace

std::optional<LeftOut> leave_largest_out(const std::vector<RunPoint>& points) {
  const auto key = &RunPoint::parameters;
  return leave_out(points, key, largest(points, key) * (1 - 1e-6));
}

std::optional<LeftOut> leave_budget_out(const std::vector<RunPoint>& points) {
  const auto key = &RunPoint::flops;
  const std::optional<LeftOut> out = leave_out(points, key, largest(points, key) * 0.95);
  return out && out->points > 1 && out->step >= kBudgetStep ? out : std::nullopt;
}

double bent(double loss, double flops, const LeftOut& left) {
  return loss * std::pow(1 + left.mean_error, -std::log(flops / left.from) / std::log(left.step));
}

}  // namespace isoflop
