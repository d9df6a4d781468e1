// Forecast: what a plan lets expect of a run while it is under way, and of its end from what was
// seen so far.
//
// A law says what a finished run of D tokens ends at: floor + (loss - floor) (D / D_end)^-exponent.
// A run that is under way is not finished: its rate is still high. Its tokens count by the area
// under the rate, u = sum of rates so far / sum of all, as in Tissue et al. 2024
// (arXiv:2408.11029), and what the rest of the decay is going to gain is on top of that:
//   loss at step s = floor + (loss - floor) (u^-exponent + kRateGap rate(s) / peak)
// kRateGap and kCurveError are measured on fifteen small runs (docs/scaling.md). Everything is in
// nats per token.
#pragma once
#include "pretrain/config/run_config.hpp"
#include "pretrain/optim/schedule.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

class Forecast {
 public:
  struct Band {
    double loss = 0, low = 0, high = 0;
  };

  static constexpr double kRateGap = 0.05;
  /// The band is wider by this share of the reducible loss while the run is under way, at its
  /// beginning; none at its end.
  static constexpr double kCurveError = 0.25;
  /// Steps before this share of the run are not judged.
  static constexpr double kJudgedFrom = 0.2;

  /// Without a plan nothing may be asked. Takes memory for every step.
  Forecast(const PlanConfig& plan, const Schedule& schedule);
  explicit operator bool() const { return plan_.loss > 0; }

  /// Of the loss of step `step` (from 1), in training, without its noise.
  Band at(int64_t step) const;
  /// The mean of that over `count` steps up to `step`.
  Band mean_at(int64_t step, int64_t count) const;
  /// Of the finished run, when the mean loss of the `count` steps up to `step` is `seen`: what can
  /// be learnt at all (loss - floor) stays off by the same factor.
  double final_loss(int64_t step, int64_t count, double seen) const;
  /// Whether that mean is outside the band, where it can be judged.
  bool left(int64_t step, int64_t count, double seen) const;
  /// "the run has left the plan's band at step 310: ..."
  std::string leaving_message(int64_t step, int64_t count, double seen) const;

 private:
  PlanConfig plan_;
  Schedule schedule_;
  std::vector<double> area_;  // share of the sum of all rates, after each step
};

}  // namespace isoflop
