#include "report/chart.hpp"

#include "core/error.hpp"
#include "report/page.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

namespace isoflop {

namespace {

constexpr double kWidth = 720, kHeight = 340;  // of the view box
constexpr double kLeft = 64, kRight = 12, kTop = 34, kBottom = 44;

/// From values to pixels along one axis.
struct Axis {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  bool log = false;
  double from = 0, to = 0;  // pixels

  bool takes(double value) const { return std::isfinite(value) && (!log || value > 0); }
  double scaled(double value) const { return log ? std::log10(value) : value; }
  void include(double value) {
    if (!takes(value)) return;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
  /// To a factor between the ends, about the same middle.
  void widen(double factor) {
    const double more = std::sqrt(std::max(1.0, factor * low / high));
    low /= more;
    high *= more;
  }
  /// A range of no length gets one, and data some room.
  void finish(double room) {
    if (low == high) {
      low = log ? low / 2 : low - std::max(std::abs(low), 1.0) / 2;
      high = log ? high * 2 : high + std::max(std::abs(high), 1.0) / 2;
    }
    const double margin = room * (scaled(high) - scaled(low));
    low = log ? std::pow(10, scaled(low) - margin) : low - margin;
    high = log ? std::pow(10, scaled(high) + margin) : high + margin;
  }
  double pixel(double value) const {
    return from + (to - from) * (scaled(value) - scaled(low)) / (scaled(high) - scaled(low));
  }
};

std::string tick_text(double value) {
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-3 || size >= 1e6)) return fmt::format("{:.3g}", value);
  return fmt::format("{:.6g}", value);
}

Axis range_of(const Chart& chart, bool vertical) {
  Axis axis;
  axis.log = vertical ? chart.log_y : chart.log_x;
  std::vector<double> values;
  for (const Series& series : chart.series) {
    if (vertical && series.style == Series::Style::crosses) continue;
    for (const double value : vertical ? series.y : series.x)
      if (axis.takes(value)) values.push_back(value);
    if (vertical)
      for (const std::vector<double>* band : {&series.low, &series.high})
        std::copy_if(band->begin(), band->end(), std::back_inserter(values),
                     [&](double value) { return axis.takes(value); });
  }
  std::sort(values.begin(), values.end());
  const double ignored = vertical ? chart.ignore_highest : 0;
  values.resize(values.size() - static_cast<size_t>(ignored * static_cast<double>(values.size())));
  if (!values.empty()) axis.low = values.front(), axis.high = values.back();
  return axis;
}

/// Whether something would be cut in half at the ends of the x axis.
bool has_marks(const Chart& chart) {
  return std::any_of(chart.series.begin(), chart.series.end(), [](const Series& s) {
    return s.style == Series::Style::dots || s.style == Series::Style::crosses;
  });
}

/// Whether there is something to draw on these axes.
bool has_points(const Chart& chart, const Axis& x, const Axis& y) {
  for (const Series& s : chart.series)
    for (size_t i = 0; i < s.x.size(); ++i)
      if (x.takes(s.x[i]) && (s.style == Series::Style::crosses || y.takes(s.y[i]))) return true;
  return false;
}

class Drawing {
 public:
  Drawing(const Chart& chart, const Axis& x, const Axis& y) : chart_(chart), x_(x), y_(y) {}

  std::string text() {
    add("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", kWidth, kHeight,
        escaped(chart_.title));
    add("<text class=\"title\" x=\"{}\" y=\"18\">{}</text>\n", kLeft, escaped(chart_.title));
    grid();
    // What lies outside the frame is cut off by a view box of its own.
    add("<svg x=\"{0}\" y=\"{1}\" width=\"{2}\" height=\"{3}\" viewBox=\"{0} {1} {2} {3}\">\n",
        kLeft, kTop, kWidth - kLeft - kRight, kHeight - kTop - kBottom);
    for (const Series& series : chart_.series) band(series);
    for (const Series& series : chart_.series)
      if (series.style == Series::Style::bar) line(series, " bar");
    for (const Series& series : chart_.series) points(series);
    out_ += "</svg>\n";
    legend();
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  template <class... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    out_ += fmt::format(format, std::forward<Arguments>(arguments)...);
  }
  void grid() {
    for (const double tick : axis_ticks(x_.low, x_.high, 7, x_.log))
      add("<line class=\"grid\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\"/>"
          "<text class=\"tick\" text-anchor=\"middle\" x=\"{0:.1f}\" y=\"{3}\">{4}</text>\n",
          x_.pixel(tick), kTop, kHeight - kBottom, kHeight - kBottom + 15, tick_text(tick));
    for (const double tick : axis_ticks(y_.low, y_.high, 6, y_.log))
      add("<line class=\"grid\" x1=\"{1}\" x2=\"{2}\" y1=\"{0:.1f}\" y2=\"{0:.1f}\"/>"
          "<text class=\"tick\" text-anchor=\"end\" x=\"{3}\" y=\"{4:.1f}\">{5}</text>\n",
          y_.pixel(tick), kLeft, kWidth - kRight, kLeft - 6, y_.pixel(tick) + 4, tick_text(tick));
    add("<text class=\"label\" text-anchor=\"middle\" x=\"{}\" y=\"{}\">{}</text>\n",
        (kLeft + kWidth - kRight) / 2, kHeight - 8, escaped(chart_.x_label));
    add("<text class=\"label\" text-anchor=\"middle\" transform=\"translate(14 {}) rotate(-90)\">"
        "{}</text>\n",
        (kTop + kHeight - kBottom) / 2, escaped(chart_.y_label));
  }
  bool drawable(double x, double y) const { return x_.takes(x) && y_.takes(y); }

  void band(const Series& s) {
    if (s.low.empty()) return;
    std::string forth, back;
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (!drawable(s.x[i], s.low[i]) || !drawable(s.x[i], s.high[i])) continue;
      forth += fmt::format("{:.1f},{:.1f} ", x_.pixel(s.x[i]), y_.pixel(s.high[i]));
      back.insert(0, fmt::format("{:.1f},{:.1f} ", x_.pixel(s.x[i]), y_.pixel(s.low[i])));
    }
    add("<polygon class=\"band c{}\" points=\"{}{}\"/>\n", s.color, forth, back);
  }
  void points(const Series& s) {
    switch (s.style) {
      case Series::Style::line:
        return line(s, "");
      case Series::Style::dashed:
        return line(s, " dashed");
      case Series::Style::dots:
        return dots(s);
      case Series::Style::bar:
        return;  // behind everything
      case Series::Style::crosses:
        return crosses(s);
    }
  }
  void dots(const Series& s) {
    for (size_t i = 0; i < s.x.size(); ++i)
      if (drawable(s.x[i], s.y[i]))
        add("<circle class=\"dot c{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\">"
            "<title>{}, {:.5g}</title></circle>\n",
            s.color, x_.pixel(s.x[i]), y_.pixel(s.y[i]), tick_text(s.x[i]), s.y[i]);
  }
  void crosses(const Series& s) {
    constexpr double kArm = 3, kRow = 9;
    if (s.x.empty()) return;
    const double y = kTop + kRow * ++rows_of_crosses_ - kArm;
    for (const double value : s.x) {
      if (!x_.takes(value)) continue;
      const double x = x_.pixel(value);
      add("<path class=\"line c{}\" d=\"M{:.1f} {:.1f}l6 6m-6 0l6 -6\"><title>{}</title></path>\n",
          s.color, x - kArm, y - kArm, tick_text(value));
    }
  }
  void line(const Series& s, const char* kind) {
    std::string path;
    bool pen_down = false;
    for (size_t i = 0; i < s.x.size(); ++i) {
      const bool here = drawable(s.x[i], s.y[i]);
      if (here)
        path += fmt::format("{}{:.1f} {:.1f}", pen_down ? 'L' : 'M', x_.pixel(s.x[i]),
                            y_.pixel(s.y[i]));
      pen_down = here;
    }
    add("<path class=\"line c{}{}\" d=\"{}\"/>\n", s.color, kind, path);
  }
  static const char* glyph(Series::Style style) {
    switch (style) {
      case Series::Style::dots:
        return "\u25cf";
      case Series::Style::crosses:
        return "\u00d7";
      default:
        return "\u2014";
    }
  }
  void legend() {
    double right = kWidth - kRight;
    for (auto s = chart_.series.rbegin(); s != chart_.series.rend(); ++s) {
      if (s->name.empty()) continue;
      add("<text class=\"legend c{}\" text-anchor=\"end\" x=\"{}\" y=\"18\">{} {}</text>\n",
          s->color, right, glyph(s->style), escaped(s->name));
      right -= 6.6 * static_cast<double>(s->name.size()) + 30;
    }
  }

  const Chart& chart_;
  Axis x_, y_;
  int rows_of_crosses_ = 0;
  std::string out_;
};

}  // namespace

std::string draw(const Chart& chart) {
  return draw_alike({chart}).front();
}

std::vector<std::string> draw_alike(const std::vector<Chart>& charts) {
  Chart all;  // every series, for the axes
  if (!charts.empty()) all = charts.front();
  all.series.clear();
  for (const Chart& chart : charts)
    for (const Series& s : chart.series) {
      ISOFLOP_CHECK(s.x.size() == s.y.size(), "a series of {} x and {} y", s.x.size(), s.y.size());
      ISOFLOP_CHECK(s.low.size() == s.high.size() && (s.low.empty() || s.low.size() == s.x.size()),
                    "a band of {} and {} points", s.low.size(), s.high.size());
      ISOFLOP_CHECK(s.color >= 0 && s.color < kChartColors, "colour {}", s.color);
      all.series.push_back(s);
    }
  std::vector<std::string> drawings(charts.size());
  Axis x = range_of(all, false), y = range_of(all, true);
  if (x.empty() || y.empty()) return drawings;
  if (y.log) y.widen(all.least_factor);
  x.finish(has_marks(all) ? 0.015 : 0);
  y.finish(0.04);
  x.from = kLeft, x.to = kWidth - kRight;
  y.from = kHeight - kBottom, y.to = kTop;
  for (size_t i = 0; i < charts.size(); ++i)
    if (has_points(charts[i], x, y)) drawings[i] = Drawing(charts[i], x, y).text();
  return drawings;
}

Series thinned(Series series, size_t most) {
  const size_t count = series.x.size();
  if (count <= most) return series;
  Series result = std::move(series);
  const Series all = result;
  for (std::vector<double>* v : {&result.x, &result.y, &result.low, &result.high}) v->clear();
  for (size_t bucket = 0; bucket < most; ++bucket) {
    const size_t first = bucket * count / most, last = (bucket + 1) * count / most;
    double x = 0, y = 0, low = std::numeric_limits<double>::infinity(), high = -low;
    size_t finite = 0;
    for (size_t i = first; i < last; ++i) {
      x += all.x[i];
      if (!std::isfinite(all.y[i])) continue;
      y += all.y[i];
      low = std::min(low, all.y[i]);
      high = std::max(high, all.y[i]);
      ++finite;
    }
    const double none = std::numeric_limits<double>::quiet_NaN();
    result.x.push_back(x / static_cast<double>(last - first));
    result.y.push_back(finite ? y / static_cast<double>(finite) : none);
    result.low.push_back(finite ? low : none);
    result.high.push_back(finite ? high : none);
  }
  return result;
}

std::vector<double> axis_ticks(double low, double high, int count, bool log) {
  std::vector<double> ticks;
  if (!(low < high) || (log && low <= 0)) return ticks;
  if (log) {
    const int first = static_cast<int>(std::floor(std::log10(low)));
    const int last = static_cast<int>(std::ceil(std::log10(high)));
    const int every = std::max(1, (last - first) / count);
    for (int power = first; power <= last; power += every)
      for (const double factor : {1.0, 2.0, 5.0}) {
        if (factor > 1 && last - first > 3) break;
        const double tick = factor * std::pow(10, power);
        if (tick >= low && tick <= high) ticks.push_back(tick);
      }
    if (ticks.size() >= 2) return ticks;
    ticks.clear();  // too narrow for powers: as on a plain axis
  }
  const double raw = (high - low) / count, power = std::pow(10, std::floor(std::log10(raw)));
  const double step = power * (raw <= 1.5 * power   ? 1
                               : raw <= 3.5 * power ? 2
                               : raw <= 7.5 * power ? 5
                                                    : 10);
  // Counted in whole steps, so that zero is zero.
  constexpr double kSlack = 1e-9;  // of a step: -0.3 / 0.1 is a little more than -3
  for (double i = std::ceil(low / step - kSlack); i <= high / step + kSlack; ++i)
    ticks.push_back(i * step + 0.0);  // no negative zero
  return ticks;
}

}  // namespace isoflop
