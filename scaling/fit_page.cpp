#include "scaling/fit_page.hpp"

#include "report/chart.hpp"
#include "report/humanize.hpp"
#include "report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

constexpr double kOneBudget = 1.05;

/// Runs of one budget each, the smallest first; within it by size.
std::vector<std::vector<RunPoint>> budgets_of(std::vector<RunPoint> points) {
  std::sort(points.begin(), points.end(),
            [](const RunPoint& a, const RunPoint& b) { return a.flops < b.flops; });
  std::vector<std::vector<RunPoint>> budgets;
  for (const RunPoint& point : points) {
    if (budgets.empty() || point.flops > kOneBudget * budgets.back().front().flops)
      budgets.emplace_back();
    budgets.back().push_back(point);
  }
  for (std::vector<RunPoint>& budget : budgets)
    std::sort(budget.begin(), budget.end(),
              [](const RunPoint& a, const RunPoint& b) { return a.parameters < b.parameters; });
  return budgets;
}

/// The law along a budget, from half the smallest size to twice the largest.
Series law_curve(const LawTerms& terms, const std::vector<RunPoint>& budget, int color) {
  constexpr int kSteps = 60;
  Series series{"", {}, {}, Series::Style::line, color};
  const double first = budget.front().parameters / 2, last = budget.back().parameters * 2;
  for (int i = 0; i <= kSteps; ++i) {
    const double n = first * std::pow(last / first, static_cast<double>(i) / kSteps);
    series.x.push_back(n);
    series.y.push_back(terms.loss(n, budget.front().flops / (6 * n)));
  }
  return series;
}

std::string isoflop_figure(const LawTerms& terms, const std::vector<RunPoint>& points) {
  Chart chart{.title = "Runs of each budget, and the law",
              .x_label = "parameters",
              .y_label = "loss, nats per token",
              .series = {},
              .log_x = true};
  int color = 0;
  for (const std::vector<RunPoint>& budget : budgets_of(points)) {
    Series dots{
        fmt::format("{:.2g} FLOPs", budget.front().flops), {}, {}, Series::Style::dots, color};
    for (const RunPoint& p : budget) {
      dots.x.push_back(p.parameters);
      dots.y.push_back(p.loss);
    }
    chart.series.push_back(law_curve(terms, budget, color));
    chart.series.push_back(std::move(dots));
    color = (color + 1) % kChartColors;
  }
  return draw(chart);
}

std::string residual_figure(const LawFit& fit, const std::vector<RunPoint>& points) {
  Chart chart{.title = "Residuals: run / law - 1",
              .x_label = "tokens",
              .y_label = "%",
              .series = {},
              .log_x = true};
  Series band{"one standard deviation", {}, {}, Series::Style::dashed, 1},
      dots{"runs", {}, {}, Series::Style::dots, 0};
  for (const RunPoint& p : points) {
    dots.x.push_back(p.tokens);
    dots.y.push_back(100 * (p.loss / fit.terms.loss(p.parameters, p.tokens) - 1));
  }
  const auto [least, most] = std::minmax_element(dots.x.begin(), dots.x.end());
  band.x = {*least, *most};
  band.y = {0, 0};
  band.low = {-100 * fit.residual, -100 * fit.residual};
  band.high = {100 * fit.residual, 100 * fit.residual};
  chart.series = {band, dots};
  return draw(chart);
}

void sort_by_flops(std::vector<Outcome>& outcomes) {
  std::stable_sort(outcomes.begin(), outcomes.end(),
                   [](const Outcome& a, const Outcome& b) { return a.run.flops < b.run.flops; });
}

/// Everything relative to the law's forecast: bent forecasts lie off zero, outcomes where they are.
std::string calibration_figure(std::vector<Outcome> outcomes, std::vector<Outcome> bent_outcomes) {
  sort_by_flops(outcomes);
  sort_by_flops(bent_outcomes);
  Chart chart{.title = "Runs that the fit had not seen: run / law - 1",
              .x_label = "FLOPs",
              .y_label = "%",
              .series = {},
              .log_x = true};
  Series band{"law, 80 %", {}, {}, Series::Style::dashed, 1},
      bent_band{
          bent_outcomes.empty() ? "" : "with the bend, 80 %", {}, {}, Series::Style::dashed, 2},
      dots{"outcome", {}, {}, Series::Style::dots, 0};
  const auto add = [](Series& series, const Outcome& forecast, double law) {
    series.x.push_back(forecast.run.flops);
    series.y.push_back(100 * (forecast.loss / law - 1));
    series.low.push_back(100 * (forecast.range.low / law - 1));
    series.high.push_back(100 * (forecast.range.high / law - 1));
  };
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& o = outcomes[i];
    add(band, o, o.loss);
    if (!bent_outcomes.empty()) add(bent_band, bent_outcomes[i], o.loss);
    dots.x.push_back(o.run.flops);
    dots.y.push_back(100 * o.error());
  }
  chart.series = {band, bent_band, dots};
  return draw(chart);
}

/// What was forecast and how far off it was, as cells.
std::vector<std::string> judged(const Outcome& o) {
  return {fmt::format("{:.4f}", o.loss), fmt::format("{:.4f} to {:.4f}", o.range.low, o.range.high),
          fmt::format("{:+.2f} %", 100 * o.error()), o.held() ? "yes" : "no"};
}

std::vector<std::vector<std::string>> outcome_rows(const std::vector<Outcome>& outcomes,
                                                   const std::vector<Outcome>& bent_outcomes) {
  std::vector<std::vector<std::string>> rows = {
      {"parameters", "tokens", "outcome", "law", "80 %", "off", "held"}};
  if (!bent_outcomes.empty())
    for (const char* head : {"with the bend", "80 %", "off", "held"}) rows[0].push_back(head);
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const RunPoint& run = outcomes[i].run;
    std::vector<std::string> row = {human_count(run.parameters), human_count(run.tokens),
                                    fmt::format("{:.4f}", run.loss)};
    for (std::string& cell : judged(outcomes[i])) row.push_back(std::move(cell));
    if (!bent_outcomes.empty())
      for (std::string& cell : judged(bent_outcomes[i])) row.push_back(std::move(cell));
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string in_words(const std::vector<Outcome>& outcomes, const std::string& by) {
  const Calibration c = calibration_of(outcomes);
  return fmt::format(
      "{}: {} of {} outcomes lie within their 80 % intervals; the median error is {:.2f} %, the "
      "worst {:.2f} %",
      by, c.held, c.runs, 100 * c.median_error, 100 * c.worst_error);
}

}  // namespace

std::vector<Outcome> judge(const LossLaw& law, const std::vector<RunPoint>& runs) {
  std::vector<Outcome> outcomes;
  for (const RunPoint& run : runs)
    outcomes.push_back(
        {run, law.loss(run.parameters, run.tokens), loss_range(law, run.parameters, run.tokens)});
  return outcomes;
}

std::vector<Outcome> bent(std::vector<Outcome> outcomes, const LeftOut& left) {
  for (Outcome& o : outcomes)
    for (double* loss : {&o.loss, &o.range.low, &o.range.high})
      *loss = bent(*loss, o.run.flops, left);
  return outcomes;
}

Calibration calibration_of(const std::vector<Outcome>& outcomes) {
  Calibration result;
  std::vector<double> errors;
  for (const Outcome& o : outcomes) {
    ++result.runs;
    result.held += o.held();
    errors.push_back(std::abs(o.error()));
  }
  if (errors.empty()) return result;
  std::sort(errors.begin(), errors.end());
  result.median_error = (errors[(errors.size() - 1) / 2] + errors[errors.size() / 2]) / 2;
  result.worst_error = errors.back();
  return result;
}

std::string fit_page(const std::string& title,
                     const LawFit& fit,
                     const std::vector<RunPoint>& points,
                     const std::vector<Outcome>& outcomes,
                     const std::vector<Outcome>& bent_outcomes) {
  Page page(title);
  const LawTerms& t = fit.terms;
  page.paragraph(
      fmt::format("L = {:.4g} + {:.4g} / N^{:.4f} + {:.4g} / D^{:.4f}, ln L off by {:.2f} "
                  "% over {} runs",
                  t.E, t.A, t.alpha, t.B, t.beta, 100 * fit.residual, points.size()));
  page.section("The runs of the fit");
  page.figure(isoflop_figure(t, points));
  page.figure(residual_figure(fit, points));
  if (!outcomes.empty()) {
    page.section("What was forecast");
    page.paragraph(in_words(outcomes, "By the law"));
    if (!bent_outcomes.empty()) page.paragraph(in_words(bent_outcomes, "With the bend"));
    page.figure(calibration_figure(outcomes, bent_outcomes));
    page.table(outcome_rows(outcomes, bent_outcomes));
  }
  return page.text();
}

}  // namespace isoflop
