#include "launch/coord_plot.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace isoflop {

namespace {

constexpr double kWidth = 260, kHeight = 180, kMargin = 40;

/// Geometric mean over seeds, in log2: step -> size -> value.
using Curves = std::map<int64_t, std::map<double, double>>;

Curves curves_of(const std::vector<CoordRow>& rows, CoordModule module) {
  std::map<int64_t, std::map<double, std::pair<double, int>>> sums;
  for (const CoordRow& row : rows) {
    if (row.module != module || !(row.mean > 0) || !std::isfinite(row.mean)) continue;
    auto& sum = sums[row.step][row.size];
    sum.first += std::log2(row.mean);
    ++sum.second;
  }
  Curves curves;
  for (const auto& [step, sizes] : sums)
    for (const auto& [size, sum] : sizes) curves[step][size] = sum.first / sum.second;
  return curves;
}

std::string panel(const Curves& curves, double left, double top, const std::string& title) {
  double x0 = 1e300, x1 = -1e300, y0 = 1e300, y1 = -1e300;
  for (const auto& [step, sizes] : curves)
    for (const auto& [size, value] : sizes) {
      x0 = std::min(x0, std::log2(size));
      x1 = std::max(x1, std::log2(size));
      y0 = std::min(y0, value);
      y1 = std::max(y1, value);
    }
  std::string svg = fmt::format("<text x=\"{}\" y=\"{}\">{}</text>\n", left, top - 6, title);
  if (curves.empty() || !(x1 > x0)) return svg;
  // At least a factor of 16 upward, so that a flat curve looks flat.
  const double middle = (y0 + y1) / 2, half = std::max(2.0, (y1 - y0) / 2);
  svg += fmt::format(
      "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#999\"/>\n", left,
      top, kWidth, kHeight);
  svg += fmt::format(
      "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.2g}</text>"
      "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.2g}</text>\n",
      left - 3, top + 10, std::exp2(middle + half), left - 3, top + kHeight,
      std::exp2(middle - half));
  const int64_t last = curves.rbegin()->first;
  for (const auto& [step, sizes] : curves) {
    std::string points;
    for (const auto& [size, value] : sizes)
      points += fmt::format("{:.1f},{:.1f} ", left + kWidth * (std::log2(size) - x0) / (x1 - x0),
                            top + kHeight * (1 - (value - middle + half) / (2 * half)));
    svg += fmt::format(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#2464b4\" stroke-width=\"1.6\" "
        "stroke-opacity=\"{:.2f}\"><title>step {}</title></polyline>\n",
        points, 0.2 + 0.8 * static_cast<double>(step) / static_cast<double>(last), step);
  }
  return svg;
}

}  // namespace

std::string coord_svg(const std::vector<CoordRow>& rows, const std::string& size) {
  const double column = kWidth + 2 * kMargin, line = kHeight + 2 * kMargin;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" "
      "font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      3 * column, 2 * line);
  for (const CoordModule module : kCoordModules) {
    const int i = static_cast<int>(module);
    svg += panel(curves_of(rows, module), (i % 3) * column + kMargin, (i / 3) * line + kMargin,
                 fmt::format("{}: mean |x| over {}", name_of(module), size));
  }
  return svg + "</svg>\n";
}

}  // namespace isoflop
