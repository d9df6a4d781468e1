// Where a hyperparameter is best, from a few noisy losses: a cubic in log2 of the value through the
// mean losses around the best one, with an interval; never just the best point of the grid. And the
// gate that lets a proxy's optimum through to a larger model.
//
// Losses fall slowly, have a bottom and rise steeply towards divergence. No cubic follows all of
// that, so one is fitted to five values around the best only, and asked only where its bottom lies
// between the best value's neighbours: further out, where it follows nothing, it may well be lower.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

/// One trial. A loss that is not finite says that it diverged.
struct SweepPoint {
  double value = 0;  // > 0
  double loss = 0;
};

struct Optimum {
  double value = 0;  // NaN when fewer than three values have finite losses
  /// 95 %, of two things: the noise between seeds (means drawn anew, with a deviation as uncertain
  /// as so few seeds leave it), and what the cubic leaves out (as much as it moved the parabola
  /// through the best three values). Of drawn sweeps whose optimum is known it holds 92 to 99 %
  /// (tests/muP/optimum_test.cpp). One seed a value leaves only the scatter around the cubic; it is
  /// wide then.
  double low = 0, high = 0;
  double loss = 0;  // of the fit at `value`
  /// The best lies at the lowest (-1) or highest (+1) value that did not diverge, or beyond:
  /// `value` is that end and a bound only. 0 = inside.
  int edge = 0;
  int64_t diverged = 0;  // trials

  /// loss = a + b t + c t^2 + d t^3 with t = log2 x - center where x is one of, or between, the
  /// values that were fitted; straight lines between mean losses elsewhere.
  double loss_at(double x) const;

  double center = 0, a = 0, b = 0, c = 0, d = 0;
  double first = 0, last = 0;                    // log2 of the values that were fitted
  std::vector<std::pair<double, double>> means;  // log2 value, mean loss; by value
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
