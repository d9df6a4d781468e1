// From runs to a law: L(N, D) = E + A / N^alpha + B / D^beta by the objective of Hoffmann et al.
// 2022, section 3.3 (sum of Huber losses of the residuals of ln L, delta 1e-3), and their two other
// ways to the exponents.
//
// Given alpha and beta the law is linear in (E, A, B), so those are solved inside (variable
// projection, non-negative) over a grid of the two exponents; the best few are polished under the
// full objective. That finds the optimum of the published 4,500 starts (a test) in milliseconds.
#pragma once
#include "scaling/law.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct RunPoint {
  double parameters = 0, tokens = 0, loss = 0;
  double flops = 0;  // 6 N D where the table has no column for it
};

/// A table with a header: `parameters,tokens,loss` or `N,D,loss`; `C` or `flops` may be there,
/// other columns are left alone, and so are rows that a column `status` calls diverged (sweeps).
/// UserError names file, line and column: an unknown header, a value
/// that is not a number, not finite or not positive.
std::vector<RunPoint> parse_runs(std::string_view text, const std::string& origin);

/// Sum over the points of Huber(ln L(N, D) - ln loss).
double fit_objective(const LawTerms& terms, const std::vector<RunPoint>& points);

struct LawFit {
  LawTerms terms;
  double objective = 0;
  double residual = 0;  // standard deviation of ln L about the law, 5 degrees of freedom taken off
};
/// UserError below 6 points, or when all have the same N or the same D.
LawFit fit_law(const std::vector<RunPoint>& points);
/// Downhill from `start` to the nearest minimum.
LawFit polish_law(const LawTerms& start, const std::vector<RunPoint>& points);

/// Refits of `count` resamplings of the points (with replacement), each from the fit.
std::vector<LawTerms> bootstrap_law(const LawFit& fit,
                                    const std::vector<RunPoint>& points,
                                    int count,
                                    uint64_t seed);

struct Interval {
  double low = 0, high = 0;
};
/// Between the quantiles (1 - level) / 2 and (1 + level) / 2, interpolated.
Interval interval_of(std::vector<double> values, double level);

/// The law fitted without some runs, judged on them.
struct LeftOut {
  double from = 0;  // the size, or the FLOPs, of those left out
  int points = 0;
  double worst_error = 0, mean_error = 0;  // of its predicted losses, relative; the mean has a sign
  double step = 0;                         // how much larger they are than the largest that stayed
};
/// Without the largest size. Nothing when too few points would be left.
std::optional<LeftOut> leave_largest_out(const std::vector<RunPoint>& points);
/// Without the largest budget, where the table has budgets: at least two runs within 5 % of the
/// most FLOPs, 1.4 times those of all others. What it misses there it will miss beyond, and more
/// with every such step: resamplings and residuals do not know of it.
std::optional<LeftOut> leave_budget_out(const std::vector<RunPoint>& points);
/// A forecast of `flops`, if runs go on to leave the law by `left`'s mean error at every such step.
double bent(double loss, double flops, const LeftOut& left);

/// N_opt = n_scale C^n_exponent, D_opt = d_scale C^d_exponent.
struct PowerLaws {
  double n_scale = 0, n_exponent = 0, d_scale = 0, d_exponent = 0;
  int budgets = 0;  // that it goes through
};
/// Approach 1: rows of one N are a training curve; at log-spaced FLOPs the curve with the lowest
/// loss, where a smaller and a larger size lose. Approach 2: a parabola of the loss in ln N through
/// the runs of each budget (those within 5
/// %), its lowest point where the sizes bracket it. Nothing, and `why`, when the table does not
/// allow it.
std::optional<PowerLaws> fit_envelope(const std::vector<RunPoint>& points, std::string& why);
std::optional<PowerLaws> fit_isoflop(const std::vector<RunPoint>& points, std::string& why);
PowerLaws power_laws_of(const LawTerms& terms);

/// A parabola is not the curve: approach 2 on the same sizes and budgets with the law's own losses,
/// without noise, misses the law's exponent and sizes by this much.
struct ParabolaBias {
  double exponent = 0;  // of N: parabola - law
  double size = 0;      // relative, at the largest budget
};
std::optional<ParabolaBias> parabola_bias(const LawTerms& terms,
                                          const std::vector<RunPoint>& points);

}  // namespace isoflop
