#include "muP/optimum.hpp"

#include "core/rng.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace isoflop {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// a + b t + c t^2 + d t^3, t = x - center.
struct Curve {
  double center = 0, a = 0, b = 0, c = 0, d = 0;
  double operator()(double x) const {
    const double t = x - center;
    return a + t * (b + t * (c + t * d));
  }
};

struct Fitted {
  double x, y, mean, weight;  // mean of the losses at x
};

/// Weighted least squares, of degree 3 when there are enough places, else 2: losses rise faster
/// towards divergence than on the other side. `center` is the weighted mean of x.
Curve fit_curve(const std::vector<Fitted>& points, size_t places) {
  constexpr size_t kMost = 4;
  const size_t n = places >= 5 ? 4 : 3;
  Curve curve;
  double total = 0;
  for (const Fitted& f : points) {
    total += f.weight;
    curve.center += f.weight * f.x;
  }
  curve.center /= total;
  // Normal equations by Gaussian elimination; x is centered and a few units wide.
  std::array<std::array<double, kMost + 1>, kMost> m{};
  for (const Fitted& f : points) {
    const double t = f.x - curve.center, powers[kMost] = {1, t, t * t, t * t * t};
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) m[i][j] += f.weight * powers[i] * powers[j];
      m[i][kMost] += f.weight * powers[i] * f.y;
    }
  }
  for (size_t i = 0; i < n; ++i)
    for (size_t k = i + 1; k < n && m[i][i] != 0; ++k) {
      const double factor = m[k][i] / m[i][i];
      for (size_t j = i; j <= kMost; ++j) m[k][j] -= factor * m[i][j];
    }
  double solution[kMost] = {};
  for (size_t i = n; i-- > 0;) {
    double rest = m[i][kMost];
    for (size_t j = i + 1; j < n; ++j) rest -= m[i][j] * solution[j];
    solution[i] = std::abs(m[i][i]) > 1e-12 * total ? rest / m[i][i] : 0;
  }
  curve.a = solution[0];
  curve.b = solution[1];
  curve.c = solution[2];
  curve.d = solution[3];
  return curve;
}

/// Where the curve is lowest within [x0, x1]: its bottom, or the better end.
double bottom(const Curve& curve, double x0, double x1, int& edge) {
  edge = curve(x0) < curve(x1) ? -1 : 1;
  double best = edge < 0 ? x0 : x1;
  // b + 2 c t + 3 d t^2 = 0 with positive curvature, in the form that stays right as d vanishes.
  const double root = curve.c * curve.c - 3 * curve.b * curve.d;
  if (root <= 0) return best;
  const double t = -curve.b / (curve.c + std::sqrt(root)), x = curve.center + t;
  if (curve.c + 3 * curve.d * t > 0 && x >= x0 && x <= x1 && curve(x) <= curve(best)) {
    edge = 0;
    best = x;
  }
  return best;
}

/// Points near the best one count: a fit of everything would follow the steep side towards
/// divergence. The scale is what the loss rises by from the best value to the worse neighbour.
std::vector<Fitted> weigh(const std::vector<SweepPoint>& points, double window = 0.35) {
  std::map<double, std::pair<double, double>> sums;  // log2 value -> sum of losses, n
  for (const SweepPoint& p : points) {
    if (!(p.value > 0) || !std::isfinite(p.loss)) continue;
    auto& sum = sums[std::log2(p.value)];
    sum.first += p.loss;
    sum.second += 1;
  }
  if (sums.size() < 3) return {};
  std::vector<std::pair<double, double>> means;
  for (const auto& [x, sum] : sums) means.push_back({x, sum.first / sum.second});
  const auto best = std::min_element(
      means.begin(), means.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const size_t i = static_cast<size_t>(best - means.begin());
  double scale = 0;
  for (const size_t j : {i > 0 ? i - 1 : i + 2, i + 1 < means.size() ? i + 1 : i - 2})
    scale = std::max(scale, means[j].second - best->second);
  scale = window * std::max(scale, 1e-9 * std::abs(best->second));
  std::vector<Fitted> fitted;
  for (const SweepPoint& p : points) {
    if (!(p.value > 0) || !std::isfinite(p.loss)) continue;
    const double x = std::log2(p.value);
    const double mean = sums[x].first / sums[x].second;
    fitted.push_back({x, p.loss, mean, 1 / (1 + std::pow((mean - best->second) / scale / 2, 4))});
  }
  return fitted;
}

}  // namespace

double Optimum::loss_at(double x) const {
  return Curve{center, a, b, c, d}(std::log2(x));
}

Optimum fit_optimum(const std::vector<SweepPoint>& points, int bootstraps, uint64_t seed) {
  Optimum optimum;
  for (const SweepPoint& p : points) optimum.diverged += !std::isfinite(p.loss);
  std::vector<Fitted> fitted = weigh(points);
  if (fitted.empty()) {
    optimum.value = optimum.low = optimum.high = optimum.loss = kNaN;
    return optimum;
  }
  const auto [least, most] = std::minmax_element(
      fitted.begin(), fitted.end(), [](const Fitted& a, const Fitted& b) { return a.x < b.x; });
  const double x0 = least->x, x1 = most->x;
  std::set<double> places;
  for (const Fitted& f : fitted) places.insert(f.x);
  const size_t by_value = places.size();
  const Curve p = fit_curve(fitted, by_value);
  const double x = bottom(p, x0, x1, optimum.edge);
  optimum.value = std::exp2(x);
  optimum.loss = p(x);
  optimum.center = p.center;
  optimum.a = p.a;
  optimum.b = p.b;
  optimum.c = p.c;
  optimum.d = p.d;

  // Noise between seeds, or around the curve where there is one seed, drawn anew onto the means.
  // Each draw looks at more or less of the curve, since the fit is only nearly right.
  std::vector<double> noise;
  double values = 4;  // fitted numbers, or one mean for each value
  if (fitted.size() > by_value) {
    values = static_cast<double>(by_value);
    for (const Fitted& f : fitted) noise.push_back(f.y - f.mean);
  } else {
    for (const Fitted& f : fitted)
      if (f.weight > 0.3) noise.push_back(f.y - p(f.x));
  }
  const double n = static_cast<double>(noise.size());
  const double inflate = n > values ? std::sqrt(n / (n - values)) : 1;
  std::vector<double> found;
  for (int k = 0; k < bootstraps; ++k) {
    const auto draw = [&](size_t i) { return philox(seed, static_cast<uint64_t>(k), i)[0]; };
    std::vector<SweepPoint> drawn;
    for (size_t i = 0; i < fitted.size(); ++i)
      drawn.push_back(
          {std::exp2(fitted[i].x), fitted[i].mean + inflate * noise[draw(i) % noise.size()]});
    constexpr double kWindows[] = {0.25, 0.35, 0.5};
    int edge = 0;
    found.push_back(
        bottom(fit_curve(weigh(drawn, kWindows[draw(fitted.size()) % 3]), by_value), x0, x1, edge));
  }
  std::sort(found.begin(), found.end());
  const auto quantile = [&found](double q) {
    return std::exp2(found[static_cast<size_t>(q * static_cast<double>(found.size() - 1))]);
  };
  optimum.low = found.empty() ? optimum.value : quantile(0.025);
  optimum.high = found.empty() ? optimum.value : quantile(0.975);
  return optimum;
}

TransferVerdict judge_transfer(std::vector<WidthSweep> sweeps) {
  std::sort(sweeps.begin(), sweeps.end(),
            [](const WidthSweep& a, const WidthSweep& b) { return a.width < b.width; });
  TransferVerdict verdict;
  const auto refuse = [&verdict](std::string reason) {
    verdict.pass = false;
    verdict.reasons.push_back(std::move(reason));
  };
  if (sweeps.size() < 3)
    refuse(fmt::format("{} widths were swept; the gate needs three", sweeps.size()));
  for (const WidthSweep& sweep : sweeps) {
    TransferRow row;
    row.width = sweep.width;
    row.optimum = fit_optimum(sweep.points);
    if (verdict.rows.empty()) verdict.value = row.optimum.value;
    row.proxy_loss = row.optimum.loss_at(verdict.value);
    row.lost = row.proxy_loss / row.optimum.loss - 1;
    row.shift = std::log2(row.optimum.value / verdict.value);
    if (!std::isfinite(row.lost))
      refuse(fmt::format("width {}: fewer than three values did not diverge", row.width));
    else if (row.lost > kMostLost)
      refuse(fmt::format("width {}: the proxy's optimum costs {:.2f} % of the loss", row.width,
                         100 * row.lost));
    if (!verdict.rows.empty() && row.proxy_loss > verdict.rows.back().proxy_loss)
      refuse(fmt::format("width {} is worse than width {} ({:.4f} after {:.4f})", row.width,
                         verdict.rows.back().width, row.proxy_loss,
                         verdict.rows.back().proxy_loss));
    verdict.rows.push_back(row);
  }
  if (!verdict.rows.empty() && verdict.rows.front().optimum.edge != 0)
    refuse("the proxy's optimum lies at the end of what was swept; sweep further that way");
  return verdict;
}

}  // namespace isoflop
