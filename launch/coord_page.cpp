#include "launch/coord_page.hpp"

#include "report/chart.hpp"
#include "report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace isoflop {

namespace {

/// A curve that is flat within noise should not fill the frame.
constexpr double kLeastFactor = 16;

/// As many as there are colours, evenly from the first to the last.
std::vector<int64_t> shown_of(const std::set<int64_t>& steps) {
  const std::vector<int64_t> all(steps.begin(), steps.end());
  const size_t count = std::min(all.size(), static_cast<size_t>(kChartColors));
  std::vector<int64_t> shown;
  for (size_t i = 0; i < count; ++i)
    shown.push_back(all[count == 1 ? 0 : i * (all.size() - 1) / (count - 1)]);
  return shown;
}

/// Geometric means of the seeds, with the lowest and highest as the band.
std::string figure(const CoordStudy& study,
                   CoordModule module,
                   double CoordRow::*value,
                   const char* what) {
  std::map<int64_t, std::map<double, std::vector<double>>> curves;  // step -> size -> of each seed
  std::set<int64_t> steps;
  for (const CoordRow& row : study.rows)
    if (row.module == module && row.*value > 0 && std::isfinite(row.*value)) {
      curves[row.step][row.size].push_back(row.*value);
      steps.insert(row.step);
    }
  Chart chart{.title = fmt::format("{}: {}", name_of(module), what),
              .x_label = study.setting.dimension == CoordDimension::width ? "width" : "layers",
              .y_label = what,
              .series = {},
              .log_x = true,
              .log_y = true,
              .least_factor = kLeastFactor};
  int color = 0;
  for (const int64_t step : shown_of(steps)) {
    Series series{fmt::format("step {}", step), {}, {}, Series::Style::line, color++};
    for (const auto& [size, values] : curves[step]) {
      double sum = 0;
      for (const double one : values) sum += std::log(one);
      const auto [low, high] = std::minmax_element(values.begin(), values.end());
      series.x.push_back(size);
      series.y.push_back(std::exp(sum / static_cast<double>(values.size())));
      series.low.push_back(*low);
      series.high.push_back(*high);
    }
    chart.series.push_back(std::move(series));
  }
  return draw(chart);
}

std::vector<std::vector<std::string>> slope_rows(const CoordVerdict& verdict) {
  const auto text = [](const SlopeFit& fit) {
    return std::isnan(fit.slope)
               ? "none"
               : fmt::format("{:+.2f} ({:+.2f} to {:+.2f})", fit.slope, fit.low, fit.high);
  };
  std::vector<std::vector<std::string>> rows = {{"module", "mean at the start",
                                                 fmt::format("change, steps 2 to {}", verdict.turn),
                                                 "mean at later steps", ""}};
  for (const CoordSlope& slope : verdict.slopes)
    rows.push_back({name_of(slope.module), text(slope.start), text(slope.change), text(slope.late),
                    !slope.judged ? "not judged"
                    : slope.pass  ? "ok"
                                  : "FAIL"});
  return rows;
}

void add(Page& page, const CoordStudy& study) {
  const CoordVerdict& verdict = study.verdict;
  const char* size = study.setting.dimension == CoordDimension::width ? "width" : "depth";
  page.section(fmt::format("Over the {}, {}{}", size, study.setting.kind,
                           study.muon_alone ? ", only what Muon updates moves" : ""));
  if (verdict.pass) {
    page.paragraph(fmt::format("PASS: nothing depends on the {}", size));
  } else {
    page.paragraph("FAIL: " + verdict.finding);
    page.paragraph("likely cause: " + verdict.cause);
    page.paragraph("what to do: " + verdict.fix);
  }
  page.paragraph(fmt::format("Slopes, x as {}^slope, with 95 %:", size));
  page.table(slope_rows(verdict));
  for (const CoordModule module : kCoordModules) {
    page.figure(figure(study, module, &CoordRow::mean, "mean |x|"));
    page.figure(figure(study, module, &CoordRow::change, "mean change"));
  }
}

}  // namespace

std::string coord_page(const std::string& title, const std::vector<CoordStudy>& studies) {
  Page page(title);
  page.paragraph(
      "What each module computes on the same tokens: mean |x| and the mean change of x since step "
      "1, which is before any update; means of the seeds with their range. Where the "
      "parametrization is right, curves are flat.");
  for (const CoordStudy& study : studies) add(page, study);
  return page.text();
}

}  // namespace isoflop
