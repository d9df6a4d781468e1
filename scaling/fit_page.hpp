// A fitted law as a page for people: the isoFLOP curves, the residuals, and what became of runs
// that the fit had not seen, by the law and by its bend.
#pragma once
#include "scaling/fit.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// A run that was forecast, and how it ended.
struct Outcome {
  RunPoint run;
  double loss = 0;  // forecast
  LossRange range;  // its 80 %

  double error() const { return run.loss / loss - 1; }
  bool held() const { return range.low <= run.loss && run.loss <= range.high; }
};
std::vector<Outcome> judge(const LossLaw& law, const std::vector<RunPoint>& runs);
/// The same runs as they were to be expected if runs go on to bend away from the law: forecast and
/// interval moved.
std::vector<Outcome> bent(std::vector<Outcome> outcomes, const LeftOut& left);

struct Calibration {
  int runs = 0, held = 0;
  double median_error = 0, worst_error = 0;  // relative, without sign
};
Calibration calibration_of(const std::vector<Outcome>& outcomes);

/// Budgets of runs are told apart by their FLOPs to within 5 %, as approach 2 does. `bent_outcomes`
/// are the outcomes in their order, or none where the runs do not bend.
std::string fit_page(const std::string& title,
                     const LawFit& fit,
                     const std::vector<RunPoint>& points,
                     const std::vector<Outcome>& outcomes,
                     const std::vector<Outcome>& bent_outcomes);

}  // namespace isoflop
