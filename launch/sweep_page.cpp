#include "launch/sweep_page.hpp"

#include "report/chart.hpp"
#include "report/humanize.hpp"
#include "report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace isoflop {

namespace {

/// One model and length of one sweep, seen along one key.
struct Curve {
  SweepGroup group;
  std::vector<SweepPoint> points;
  Optimum optimum;

  bool has_optimum() const { return std::isfinite(optimum.value); }
};

std::vector<Curve> curves_of(const SweepTable& table, size_t key) {
  std::vector<Curve> curves;
  for (SweepGroup& group : groups_of(table)) {
    std::vector<SweepPoint> points = profile(group, key);
    const Optimum optimum = fit_optimum(points);
    curves.push_back({std::move(group), std::move(points), optimum});
  }
  return curves;
}

std::string name_of(const SweepGroup& group, bool with_steps) {
  std::string name = fmt::format("{} {} x {}", group.parametrization, group.layers, group.width);
  if (with_steps) name += fmt::format(", {} steps", group.steps);
  return name;
}

bool lengths_differ(const std::vector<Curve>& curves) {
  std::set<int64_t> lengths;
  for (const Curve& curve : curves) lengths.insert(curve.group.steps);
  return lengths.size() > 1;
}

/// The seeds' mean at each value, with the lowest and highest as the band.
Series mean_of_seeds(const Curve& curve, const std::string& name, int color) {
  std::map<double, std::vector<double>> losses;
  for (const SweepPoint& point : curve.points)
    if (std::isfinite(point.loss)) losses[point.value].push_back(point.loss);
  Series series{name, {}, {}, Series::Style::line, color};
  for (const auto& [value, of_seeds] : losses) {
    double sum = 0;
    for (const double loss : of_seeds) sum += loss;
    const auto [low, high] = std::minmax_element(of_seeds.begin(), of_seeds.end());
    series.x.push_back(value);
    series.y.push_back(sum / static_cast<double>(of_seeds.size()));
    series.low.push_back(*low);
    series.high.push_back(*high);
  }
  return series;
}

/// The values at which a seed or all of them diverged.
Series diverged(const Curve& curve, int color) {
  Series series{"", {}, {}, Series::Style::crosses, color};
  for (const SweepPoint& point : curve.points)
    if (!std::isfinite(point.loss) && (series.x.empty() || series.x.back() != point.value)) {
      series.x.push_back(point.value);
      series.y.push_back(point.loss);
    }
  return series;
}

Chart loss_chart(const std::string& name,
                 const std::string& key,
                 const std::vector<Curve>& curves) {
  Chart chart{.title = name,
              .x_label = key,
              .y_label = "held-out loss, nats per token",
              .series = {},
              .log_x = true,
              .ignore_highest = 0.1};
  const bool with_steps = lengths_differ(curves);
  int color = 0;
  for (const Curve& curve : curves) {
    chart.series.push_back(mean_of_seeds(curve, name_of(curve.group, with_steps), color));
    if (curve.has_optimum()) {
      const Optimum& o = curve.optimum;
      chart.series.push_back({"", {o.low, o.high}, {o.loss, o.loss}, Series::Style::bar, color});
      chart.series.push_back({"", {o.value}, {o.loss}, Series::Style::dots, color});
    }
    chart.series.push_back(diverged(curve, color));
    color = (color + 1) % kChartColors;
  }
  return chart;
}

/// The optimum over the width, a line for each parametrization, depth and length. The size is the
/// depth where only that differs.
std::string drift_figure(const std::string& key, const std::vector<std::vector<Curve>>& sweeps) {
  std::set<int64_t> widths;
  std::map<std::string, std::vector<const Curve*>> lines;
  for (const std::vector<Curve>& curves : sweeps)
    for (const Curve& curve : curves) widths.insert(curve.group.width);
  const bool by_depth = widths.size() == 1;
  for (const std::vector<Curve>& curves : sweeps)
    for (const Curve& curve : curves) {
      if (!curve.has_optimum()) continue;
      const SweepGroup& g = curve.group;
      lines[fmt::format("{}, {} {}, {} steps", g.parametrization, by_depth ? "width" : "layers",
                        by_depth ? g.width : g.layers, g.steps)]
          .push_back(&curve);
    }
  Chart chart{.title = "Fitted optimum",
              .x_label = by_depth ? "layers" : "width",
              .y_label = key,
              .series = {},
              .log_x = true,
              .log_y = true};
  int color = 0;
  for (auto& [name, curves] : lines) {
    const auto size = [&](const Curve* curve) {
      return static_cast<double>(by_depth ? curve->group.layers : curve->group.width);
    };
    std::sort(curves.begin(), curves.end(),
              [&](const Curve* a, const Curve* b) { return size(a) < size(b); });
    Series line{name, {}, {}, Series::Style::line, color};
    for (const Curve* curve : curves) {
      line.x.push_back(size(curve));
      line.y.push_back(curve->optimum.value);
      line.low.push_back(curve->optimum.low);
      line.high.push_back(curve->optimum.high);
    }
    chart.series.push_back(std::move(line));
    color = (color + 1) % kChartColors;
  }
  return draw(chart);
}

std::vector<std::vector<std::string>> optimum_rows(const std::vector<NamedSweep>& sweeps,
                                                   const std::vector<std::vector<Curve>>& curves) {
  std::vector<std::vector<std::string>> rows = {
      {"sweep", "model", "parameters", "steps", "best", "95 %", "its loss", "trials", "diverged"}};
  for (size_t s = 0; s < sweeps.size(); ++s)
    for (const Curve& curve : curves[s]) {
      const Optimum& best = curve.optimum;
      const bool found = curve.has_optimum();
      rows.push_back({sweeps[s].name, name_of(curve.group, false),
                      human_count(curve.group.parameters), std::to_string(curve.group.steps),
                      !found           ? "none"
                      : best.edge == 0 ? fmt::format("{:.3g}", best.value)
                                       : fmt::format("{:.3g} or {}", best.value,
                                                     best.edge < 0 ? "less" : "more"),
                      found ? fmt::format("{:.3g} to {:.3g}", best.low, best.high) : "",
                      found ? fmt::format("{:.4f}", best.loss) : "",
                      std::to_string(curve.points.size()), std::to_string(best.diverged)});
    }
  return rows;
}

std::vector<std::string> keys_of(const std::vector<NamedSweep>& sweeps) {
  std::vector<std::string> keys;
  for (const NamedSweep& sweep : sweeps)
    for (const std::string& key : sweep.table.keys)
      if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  return keys;
}

}  // namespace

std::string sweep_page(const std::string& title, const std::vector<NamedSweep>& sweeps) {
  Page page(title);
  page.paragraph(
      "Held-out losses, mean and range of the seeds. Dots are the fitted optima, the bars through "
      "them their 95 % intervals; crosses at the upper edge are values at which a trial diverged.");
  for (const std::string& key : keys_of(sweeps)) {
    std::vector<std::vector<Curve>> curves;
    std::vector<Chart> losses;
    page.section(key);
    for (const NamedSweep& sweep : sweeps) {
      const std::vector<std::string>& keys = sweep.table.keys;
      const auto at = std::find(keys.begin(), keys.end(), key);
      curves.push_back(at == keys.end()
                           ? std::vector<Curve>()
                           : curves_of(sweep.table, static_cast<size_t>(at - keys.begin())));
      if (!curves.back().empty()) losses.push_back(loss_chart(sweep.name, key, curves.back()));
    }
    for (const std::string& figure : draw_alike(losses)) page.figure(figure);
    page.figure(drift_figure(key, curves));
    page.table(optimum_rows(sweeps, curves));
  }
  return page.text();
}

}  // namespace isoflop
