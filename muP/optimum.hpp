// Where a hyperparameter is best, from a few noisy losses: a cubic in log2 of the value, fitted
// where the losses are near the best one, with a bootstrap interval; never just the best point of
// the grid. And the gate that lets a proxy's optimum through to a larger model.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

/// One trial. A loss that is not finite says that it diverged.
struct SweepPoint {
  double value = 0;  // > 0
  double loss = 0;
};

/// loss = a + b t + c t^2 + d t^3 near the optimum, t = log2 value - center.
struct Optimum {
  double value = 0;  // NaN when fewer than three values have finite losses
  /// 95 % of the noise between seeds, by bootstrap; not of what the cubic leaves out. Of 300 drawn
  /// sweeps (grid of 2, 2 to 5 seeds) it held the true optimum in 83 to 97 % where noise is a third
  /// of a grid step's cost or more, 63 to 79 % at a tenth of it (then 0.1 wide), and in half or
  /// less with one seed: too narrow.
  double low = 0, high = 0;
  double loss = 0;  // of the fit at `value`
  double center = 0, a = 0, b = 0, c = 0, d = 0;
  /// The best lies at the lowest (-1) or highest (+1) value that did not diverge, or beyond:
  /// `value` is that end and a bound only. 0 = inside.
  int edge = 0;
  int64_t diverged = 0;  // trials

  double loss_at(double x) const;
};

/// Deterministic: `seed` draws the bootstrap.
Optimum fit_optimum(const std::vector<SweepPoint>& points, int bootstraps = 400, uint64_t seed = 1);

struct WidthSweep {
  double width = 0;
  std::vector<SweepPoint> points;
};

struct TransferRow {
  double width = 0;
  Optimum optimum;
  double proxy_loss = 0;  // of this width at the proxy's optimum
  double lost = 0;        // proxy_loss / own best - 1
  double shift = 0;       // log2(own optimum / proxy's)
};

struct TransferVerdict {
  bool pass = true;
  double value = 0;                  // the proxy's optimum: the narrowest width's
  std::vector<TransferRow> rows;     // by width
  std::vector<std::string> reasons;  // why not
};

inline constexpr double kMostLost = 0.005;  // of the loss

/// Passes when at least three widths were swept, the proxy's optimum lies inside its range, no
/// width loses more than kMostLost by it, and none is worse than the narrower one before it.
TransferVerdict judge_transfer(std::vector<WidthSweep> sweeps);

}  // namespace isoflop
