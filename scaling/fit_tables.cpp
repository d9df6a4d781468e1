// Approaches 1 and 2, and the tables that runs come in.
#include "core/error.hpp"
#include "pretrain/config/nearest.hpp"
#include "scaling/fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

namespace isoflop {

namespace {

struct Line {
  double scale = 0, exponent = 0;
};
/// y = scale x^exponent by least squares of the logarithms.
Line power_law(const std::vector<double>& x, const std::vector<double>& y) {
  double mean_x = 0, mean_y = 0, xx = 0, xy = 0;
  const double count = static_cast<double>(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += std::log(x[i]) / count;
    mean_y += std::log(y[i]) / count;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    const double dx = std::log(x[i]) - mean_x;
    xx += dx * dx;
    xy += dx * (std::log(y[i]) - mean_y);
  }
  const double exponent = xy / xx;
  return {std::exp(mean_y - exponent * mean_x), exponent};
}

PowerLaws power_laws(const std::vector<double>& flops,
                     const std::vector<double>& sizes,
                     const std::vector<double>& tokens) {
  const Line n = power_law(flops, sizes), d = power_law(flops, tokens);
  return {n.scale, n.exponent, d.scale, d.exponent, static_cast<int>(flops.size())};
}

/// The lowest point of the least-squares parabola of y over x; NaN when it opens downward.
double lowest_of_parabola(const std::vector<double>& x, const std::vector<double>& y) {
  double mean = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  double s[5] = {}, t[3] = {};
  for (size_t i = 0; i < x.size(); ++i) {
    double power = 1;
    for (int k = 0; k < 5; ++k, power *= x[i] - mean) {
      s[k] += power;
      if (k < 3) t[k] += power * y[i];
    }
  }
  // Cramer's rule for the coefficients of x and x^2.
  const auto determinant = [](double a, double b, double c, double d, double e, double f, double g,
                              double h, double i) {
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  };
  const double whole = determinant(s[0], s[1], s[2], s[1], s[2], s[3], s[2], s[3], s[4]);
  const double linear = determinant(s[0], t[0], s[2], s[1], t[1], s[3], s[2], t[2], s[4]) / whole;
  const double square = determinant(s[0], s[1], t[0], s[1], s[2], t[1], s[2], s[3], t[2]) / whole;
  return square > 0 ? mean - linear / (2 * square) : std::nan("");
}

struct Budget {
  double flops = 0, parameters = 0;  // where the parabola is lowest
};

/// One row per budget of at least three sizes whose lowest point lies among them.
std::vector<Budget> parabolas(std::vector<RunPoint> points) {
  constexpr double kSameBudget = 0.05;
  std::sort(points.begin(), points.end(),
            [](const RunPoint& a, const RunPoint& b) { return a.flops < b.flops; });
  std::vector<Budget> budgets;
  for (size_t first = 0; first < points.size();) {
    size_t last = first;
    std::vector<double> x, y;
    double flops = 0;
    while (last < points.size() && points[last].flops <= points[first].flops * (1 + kSameBudget)) {
      x.push_back(std::log(points[last].parameters));
      y.push_back(points[last].loss);
      flops += points[last++].flops;
    }
    flops /= static_cast<double>(last - first);
    first = last;
    std::vector<double> sizes = x;
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    if (sizes.size() < 3) continue;
    const double lowest = lowest_of_parabola(x, y);
    if (lowest >= sizes.front() && lowest <= sizes.back())
      budgets.push_back({flops, std::exp(lowest)});
  }
  return budgets;
}

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  for (size_t at = 0; at <= line.size();) {
    const size_t comma = std::min(line.find(',', at), line.size());
    std::string_view cell = line.substr(at, comma - at);
    while (!cell.empty() && (cell.front() == ' ' || cell.front() == '"')) cell.remove_prefix(1);
    while (!cell.empty() && (cell.back() == ' ' || cell.back() == '"' || cell.back() == '\r'))
      cell.remove_suffix(1);
    cells.push_back(cell);
    at = comma + 1;
  }
  return cells;
}

constexpr size_t kAbsent = static_cast<size_t>(-1);

size_t column_of(const std::vector<std::string_view>& header,
                 std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    const auto found = std::find(header.begin(), header.end(), name);
    if (found != header.end()) return static_cast<size_t>(found - header.begin());
  }
  return kAbsent;
}

}  // namespace

std::vector<RunPoint> parse_runs(std::string_view text, const std::string& origin) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") text.remove_prefix(3);  // a byte order mark
  std::vector<RunPoint> points;
  std::vector<std::string_view> header;
  size_t columns[4] = {}, status = kAbsent;
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (line.find_first_not_of(" \r") == line.npos || line.front() == '#') continue;
    const std::vector<std::string_view> cells = cells_of(line);
    if (header.empty()) {
      header = cells;
      columns[0] = column_of(header, {"parameters", "N"});
      columns[1] = column_of(header, {"tokens", "D"});
      columns[2] = column_of(header, {"loss", "L"});
      columns[3] = column_of(header, {"flops", "C"});
      status = column_of(header, {"status"});
      if (std::find(columns, columns + 3, kAbsent) != columns + 3)
        fail_user(
            "{}:{}: the header \"{}\" lacks a column; a table of runs has "
            "parameters,tokens,loss or N,D,loss",
            origin, number, line.substr(0, 100));
      continue;
    }
    if (cells.size() != header.size())
      fail_user("{}:{}: {} values under a header of {}", origin, number, cells.size(),
                header.size());
    if (status != kAbsent && cells[status] == "diverged") continue;
    double values[4] = {};
    for (int k = 0; k < 4; ++k) {
      if (columns[k] == kAbsent) continue;
      const std::string_view cell = cells[columns[k]];
      const auto [rest, error] = std::from_chars(cell.data(), cell.data() + cell.size(), values[k]);
      if (error != std::errc() || rest != cell.data() + cell.size() || !std::isfinite(values[k]) ||
          values[k] <= 0)
        fail_user(
            "{}:{}: {} is \"{}\"; it must be a number more than 0 (leave out runs that "
            "diverged)",
            origin, number, header[columns[k]], cell.substr(0, 40));
    }
    points.push_back({values[0], values[1], values[2],
                      columns[3] == kAbsent ? 6 * values[0] * values[1] : values[3]});
  }
  if (points.empty())
    fail_user("{}: no runs; a table has a header (parameters,tokens,loss) and a line per run",
              origin);
  return points;
}

std::optional<PowerLaws> fit_envelope(const std::vector<RunPoint>& points, std::string& why) {
  std::map<double, std::vector<RunPoint>> curves;
  for (const RunPoint& p : points) curves[p.parameters].push_back(p);
  for (auto& [size, curve] : curves)
    std::sort(curve.begin(), curve.end(),
              [](const RunPoint& a, const RunPoint& b) { return a.flops < b.flops; });
  double low = 0, high = 0;
  for (const auto& [size, curve] : curves) {
    if (curve.size() < 2) continue;
    low = low == 0 ? curve.front().flops : std::min(low, curve.front().flops);
    high = std::max(high, curve.back().flops);
  }
  constexpr int kBudgets = 1500;  // as in the paper
  std::vector<double> flops, sizes, tokens;
  for (int i = 0; i < kBudgets && low < high; ++i) {
    const double c = low * std::pow(high / low, i / (kBudgets - 1.0));
    double best = 0, best_size = 0, best_tokens = 0;
    for (const auto& [size, curve] : curves) {
      const auto after =
          std::lower_bound(curve.begin(), curve.end(), c,
                           [](const RunPoint& p, double value) { return p.flops < value; });
      if (after == curve.begin() || after == curve.end()) continue;
      const RunPoint& a = *(after - 1);
      const RunPoint& b = *after;
      const double part = std::log(c / a.flops) / std::log(b.flops / a.flops);
      const double loss = std::exp(std::log(a.loss) + part * std::log(b.loss / a.loss));
      if (best > 0 && loss >= best) continue;
      best = loss;
      best_size = size;
      best_tokens = a.tokens * std::pow(b.tokens / a.tokens, part);
    }
    // The smallest or the largest size wins where a size beyond it might have.
    if (best == 0 || best_size == curves.begin()->first || best_size == curves.rbegin()->first)
      continue;
    flops.push_back(c);
    sizes.push_back(best_size);
    tokens.push_back(best_tokens);
  }
  const bool several = !sizes.empty() && *std::min_element(sizes.begin(), sizes.end()) <
                                             *std::max_element(sizes.begin(), sizes.end());
  if (!several) {
    why = "it needs curves: several lengths of each of four sizes or more whose FLOPs overlap";
    return std::nullopt;
  }
  return power_laws(flops, sizes, tokens);
}

std::optional<PowerLaws> fit_isoflop(const std::vector<RunPoint>& points, std::string& why) {
  const std::vector<Budget> budgets = parabolas(points);
  if (budgets.size() < 2) {
    why = fmt::format(
        "it needs two budgets or more, each with three sizes around its best; the table has {}",
        budgets.size());
    return std::nullopt;
  }
  std::vector<double> flops, sizes, tokens;
  for (const Budget& b : budgets) {
    flops.push_back(b.flops);
    sizes.push_back(b.parameters);
    tokens.push_back(b.flops / 6 / b.parameters);
  }
  return power_laws(flops, sizes, tokens);
}

PowerLaws power_laws_of(const LawTerms& terms) {
  const LawOptimum one = optimum_of(terms, 1);
  const double share = terms.beta / (terms.alpha + terms.beta);
  return {one.parameters, share, one.tokens, 1 - share, 0};
}

std::optional<ParabolaBias> parabola_bias(const LawTerms& terms,
                                          const std::vector<RunPoint>& points) {
  std::vector<RunPoint> exact = points;
  for (RunPoint& p : exact) p.loss = terms.loss(p.parameters, p.flops / 6 / p.parameters);
  const std::vector<Budget> budgets = parabolas(exact);
  std::string ignored;
  const std::optional<PowerLaws> seen = fit_isoflop(exact, ignored);
  if (!seen) return std::nullopt;
  const Budget& largest = budgets.back();
  return ParabolaBias{seen->n_exponent - power_laws_of(terms).n_exponent,
                      largest.parameters / optimum_of(terms, largest.flops).parameters - 1};
}

}  // namespace isoflop
