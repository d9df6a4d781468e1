// Charts as SVG text, drawn here so that a report is one file that needs neither scripts nor a
// network. Colours are CSS classes (page.hpp has the two themes).
#pragma once
#include <string>
#include <vector>

namespace isoflop {

struct Series {
  /// `bar` is a wide line behind the others. `crosses` lie at the upper edge of the frame, over
  /// their x, a row for each series of them: what is too high to have a place; their y is not read.
  enum class Style { line, dashed, dots, bar, crosses };

  std::string name;          // in the legend; empty = not there
  std::vector<double> x, y;  // of one length; a NaN interrupts the line
  Style style = Style::line;
  int color = 0;  // 0..kChartColors-1; series of one colour belong together
  std::vector<double> low = {}, high = {};  // a band around the line, where there is one
};
inline constexpr int kChartColors = 6;

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
  bool log_x = false, log_y = false;  // values that have no logarithm are left out
  /// Leaves the highest of the values, as a fraction of all, out of the range: a loss falls from
  /// where nothing can be seen any more. What lies outside is cut off at the frame.
  double ignore_highest = 0;
  /// A logarithmic y axis spans at least this factor, so that what is nearly flat looks flat.
  double least_factor = 1;
};

/// An <svg> element that fills the width it is given; empty when no series has a finite point.
std::string draw(const Chart& chart);

/// Each as draw() would, but all on the axes that have room for every one's series; what a chart
/// says of axes is taken from the first.
std::vector<std::string> draw_alike(const std::vector<Chart>& charts);

/// At most `most` points: the mean of x and y over runs of neighbours, with the lowest and highest
/// y as the band. Unchanged when there are no more than `most`.
Series thinned(Series series, size_t most);

/// Round numbers from within [low, high], about `count` of them: steps of 1, 2 or 5 times a power
/// of ten. On a logarithmic axis powers of ten, and 2 and 5 times them where those are few.
std::vector<double> axis_ticks(double low, double high, int count, bool log);

}  // namespace isoflop
