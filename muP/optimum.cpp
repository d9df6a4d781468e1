#include "muP/optimum.hpp"

#include "core/rng.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>

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

/// The losses of one value.
struct Place {
  double x = 0;  // log2 value
  double mean = 0;
  double count = 0;
  double scatter = 0;  // sum of squares around the mean
  double weight = 0;   // in the fit
};

std::vector<Place> places_of(const std::vector<SweepPoint>& points) {
  std::map<double, std::vector<double>> losses;
  for (const SweepPoint& p : points)
    if (p.value > 0 && std::isfinite(p.loss)) losses[std::log2(p.value)].push_back(p.loss);
  std::vector<Place> places;
  for (const auto& [x, all] : losses) {
    Place place{.x = x, .count = static_cast<double>(all.size())};
    for (const double loss : all) place.mean += loss / place.count;
    for (const double loss : all) place.scatter += (loss - place.mean) * (loss - place.mean);
    places.push_back(place);
  }
  return places;
}

size_t best_of(const std::vector<Place>& places) {
  const auto best = std::min_element(
      places.begin(), places.end(), [](const Place& a, const Place& b) { return a.mean < b.mean; });
  return static_cast<size_t>(best - places.begin());
}

/// Up to `most` places around the best one, as evenly on both sides as there are. Those that lie
/// far above it count less, or the fit would follow the way to divergence: "far" is four times the
/// step to the worse neighbour, which a parabola reaches two steps away.
std::vector<Place> around_best(const std::vector<Place>& all, size_t most) {
  const size_t best = best_of(all), n = std::min(most, all.size());
  const size_t begin = std::min(best - std::min(best, (n - 1) / 2), all.size() - n);
  std::vector<Place> near(all.begin() + static_cast<std::ptrdiff_t>(begin),
                          all.begin() + static_cast<std::ptrdiff_t>(begin + n));
  double step = 1e-9 * std::abs(all[best].mean);
  for (const size_t i :
       {best > 0 ? best - 1 : best + 2, best + 1 < all.size() ? best + 1 : best - 2})
    step = std::max(step, all[i].mean - all[best].mean);
  for (Place& place : near)
    place.weight = place.count / (1 + std::pow((place.mean - all[best].mean) / (4 * step), 4));
  return near;
}

/// Weighted least squares with `terms` coefficients, by the normal equations: x is centered and a
/// few units wide.
Curve fit_curve(const std::vector<Place>& places, size_t terms) {
  constexpr size_t kMost = 4;
  Curve curve;
  double total = 0;
  for (const Place& p : places) {
    total += p.weight;
    curve.center += p.weight * p.x;
  }
  curve.center /= total;
  std::array<std::array<double, kMost + 1>, kMost> m{};
  for (const Place& p : places) {
    const double t = p.x - curve.center, powers[kMost] = {1, t, t * t, t * t * t};
    for (size_t i = 0; i < terms; ++i) {
      for (size_t j = 0; j < terms; ++j) m[i][j] += p.weight * powers[i] * powers[j];
      m[i][kMost] += p.weight * powers[i] * p.mean;
    }
  }
  for (size_t i = 0; i < terms; ++i)
    for (size_t k = i + 1; k < terms && m[i][i] != 0; ++k) {
      const double factor = m[k][i] / m[i][i];
      for (size_t j = i; j <= kMost; ++j) m[k][j] -= factor * m[i][j];
    }
  double solution[kMost] = {};
  for (size_t i = terms; i-- > 0;) {
    double rest = m[i][kMost];
    for (size_t j = i + 1; j < terms; ++j) rest -= m[i][j] * solution[j];
    solution[i] = std::abs(m[i][i]) > 1e-12 * total ? rest / m[i][i] : 0;
  }
  curve.a = solution[0];
  curve.b = solution[1];
  curve.c = solution[2];
  curve.d = solution[3];
  return curve;
}

/// Where the curve has a bottom, or NaN: b + 2 c t + 3 d t^2 = 0 with positive curvature, in the
/// form that stays right as d vanishes.
double bottom_of(const Curve& curve) {
  const double root = curve.c * curve.c - 3 * curve.b * curve.d;
  if (!(root > 0)) return kNaN;
  const double below = curve.c + std::sqrt(root);
  return below > 0 ? curve.center - curve.b / below : kNaN;
}

struct Bottom {
  double x = 0;      // of the cubic
  double doubt = 0;  // how far the parabola through the best three values has it from there
  Curve curve;
  int edge = 0;
  double first = 0, last = 0;  // what was fitted
};

/// Looks between the neighbours of the best place. Without a bottom there the best place is the
/// answer: a bound when it is an end.
Bottom find_bottom(const std::vector<Place>& all) {
  const size_t best = best_of(all);
  const double x0 = all[best > 0 ? best - 1 : 0].x;
  const double x1 = all[std::min(best + 1, all.size() - 1)].x;
  const auto inside = [&](double x) { return x >= x0 && x <= x1; };  // NaN is not
  const std::vector<Place> five = around_best(all, 5), three = around_best(all, 3);
  const Curve parabola = fit_curve(three, 3);
  Bottom bottom;
  bottom.curve = fit_curve(five, five.size() >= 4 ? 4 : 3);
  bottom.x = bottom_of(bottom.curve);
  bottom.first = five.front().x;
  bottom.last = five.back().x;
  const double rough = bottom_of(parabola);
  if (!inside(bottom.x)) {
    bottom.curve = parabola;
    bottom.x = rough;
    bottom.first = three.front().x;
    bottom.last = three.back().x;
  }
  if (!inside(bottom.x)) {
    bottom.x = all[best].x;
    if (best == 0) bottom.edge = -1;
    if (best + 1 == all.size()) bottom.edge = 1;
  }
  bottom.doubt = inside(rough) ? std::abs(rough - bottom.x) : (x1 - x0) / 2;
  return bottom;
}

/// Sum of squares that is noise, and its degrees of freedom: between seeds, or around the curve
/// where there is one seed.
std::pair<double, double> noise_of(const std::vector<Place>& all, const Curve& curve) {
  const std::vector<Place> near = around_best(all, 5);
  double between = 0, around = 0, trials = 0;
  for (const Place& p : near) {
    between += p.scatter;
    around += p.weight * (p.mean - curve(p.x)) * (p.mean - curve(p.x));
    trials += p.count;
  }
  const double values = static_cast<double>(near.size());
  return trials > values ? std::pair(between, trials - values) : std::pair(around, values - 4);
}

}  // namespace

double Optimum::loss_at(double at) const {
  const double x = std::log2(at);
  if (means.empty()) return kNaN;
  if (x >= first && x <= last) return Curve{center, a, b, c, d}(x);
  if (x <= means.front().first) return means.front().second;
  for (size_t i = 1; i < means.size(); ++i) {
    const auto &left = means[i - 1], &right = means[i];
    if (x <= right.first)
      return left.second +
             (right.second - left.second) * (x - left.first) / (right.first - left.first);
  }
  return means.back().second;
}

Optimum fit_optimum(const std::vector<SweepPoint>& points, int bootstraps, uint64_t seed) {
  Optimum optimum;
  for (const SweepPoint& p : points) optimum.diverged += !std::isfinite(p.loss);
  const std::vector<Place> places = places_of(points);
  if (places.size() < 3) {
    optimum.value = optimum.low = optimum.high = optimum.loss = kNaN;
    return optimum;
  }
  const Bottom bottom = find_bottom(places);
  optimum.value = std::exp2(bottom.x);
  optimum.loss = bottom.curve(bottom.x);
  optimum.edge = bottom.edge;
  optimum.center = bottom.curve.center;
  optimum.a = bottom.curve.a;
  optimum.b = bottom.curve.b;
  optimum.c = bottom.curve.c;
  optimum.d = bottom.curve.d;
  optimum.first = bottom.first;
  optimum.last = bottom.last;
  for (const Place& p : places) optimum.means.push_back({p.x, p.mean});

  // Means drawn anew. The deviation of each draw is as uncertain as its degrees of freedom say,
  // which makes Student's distribution of a normal one.
  const auto [squares, freedom] = noise_of(places, bottom.curve);
  std::vector<double> found;
  for (int k = 0; k < bootstraps; ++k) {
    uint64_t counter = 0;
    const auto normal = [&] { return normal01(seed, static_cast<uint64_t>(k), counter++); };
    double chi = 0;
    for (int i = 0; i < std::max(1, static_cast<int>(freedom)); ++i) {
      const double z = normal();
      chi += z * z;
    }
    std::vector<Place> drawn = places;
    for (Place& p : drawn) p.mean += std::sqrt(squares / chi / p.count) * normal();
    const Bottom other = find_bottom(drawn);
    found.push_back(other.x + (k % 2 ? other.doubt : -other.doubt));
  }
  std::sort(found.begin(), found.end());
  const auto quantile = [&](double q) {
    const double x = found[static_cast<size_t>(q * static_cast<double>(found.size() - 1))];
    return std::exp2(std::clamp(x, places.front().x, places.back().x));
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
