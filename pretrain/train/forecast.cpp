#include "pretrain/train/forecast.hpp"

#include "core/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace isoflop {

Forecast::Forecast(const PlanConfig& plan, const Schedule& schedule)
    : plan_(plan), schedule_(schedule) {
  if (!*this) return;
  if (!(plan.floor < plan.loss && plan.loss_low <= plan.loss && plan.loss <= plan.loss_high &&
        plan.floor < plan.loss_low))
    fail_user(
        "[plan] promises a loss of {} between {} and {} above a floor of {}, which are not in "
        "order; `isoflop plan --write` writes all of them, plan.loss = 0 promises nothing",
        plan.loss, plan.loss_low, plan.loss_high, plan.floor);
  area_.reserve(static_cast<size_t>(schedule.steps));
  double sum = 0;
  for (int64_t step = 0; step < schedule.steps; ++step) area_.push_back(sum += schedule.rate(step));
  for (double& share : area_) share /= sum;
}

Forecast::Band Forecast::at(int64_t step) const {
  ISOFLOP_CHECK(*this && step >= 1 && step <= schedule_.steps, "a forecast of step {}", step);
  const double rate = schedule_.rate(step - 1) / schedule_.peak;
  const double reach =
      std::pow(area_[static_cast<size_t>(step - 1)], -plan_.exponent) + kRateGap * rate;
  // At the end of a decay that does not reach 0, the law's loss is this schedule's own.
  const double last = 1 + kRateGap * schedule_.rate(schedule_.steps - 1) / schedule_.peak;
  const double reducible = (plan_.loss - plan_.floor) * reach / last;
  const double done = static_cast<double>(step) / static_cast<double>(schedule_.steps);
  const double wider = kCurveError * (1 - done) * reducible;
  const auto side = [&](double end) {
    return (end - plan_.loss) / (plan_.loss - plan_.floor) * reducible;
  };
  const double loss = plan_.floor + reducible;
  return {loss, loss + side(plan_.loss_low) - wider, loss + side(plan_.loss_high) + wider};
}

Forecast::Band Forecast::mean_at(int64_t step, int64_t count) const {
  Band mean;
  for (int64_t s = step - count + 1; s <= step; ++s) {
    const Band one = at(s);
    mean.loss += one.loss / static_cast<double>(count);
    mean.low += one.low / static_cast<double>(count);
    mean.high += one.high / static_cast<double>(count);
  }
  return mean;
}

double Forecast::final_loss(int64_t step, int64_t count, double seen) const {
  const double off = (seen - plan_.floor) / (mean_at(step, count).loss - plan_.floor);
  return plan_.floor + off * (plan_.loss - plan_.floor);
}

bool Forecast::left(int64_t step, int64_t count, double seen) const {
  if (static_cast<double>(step - count) < kJudgedFrom * static_cast<double>(schedule_.steps))
    return false;
  const Band band = mean_at(step, count);
  return seen < band.low || seen > band.high;
}

std::string Forecast::leaving_message(int64_t step, int64_t count, double seen) const {
  const Band band = mean_at(step, count);
  return fmt::format(
      "the run has left the plan's band at step {}: loss {:.3f} over {} steps, the plan has {:.3f} "
      "({:.3f} to {:.3f}); going on like this it ends at {:.3f} instead of {:.3f} ({:.3f} to "
      "{:.3f})",
      step, seen, count, band.loss, band.low, band.high, final_loss(step, count, seen), plan_.loss,
      plan_.loss_low, plan_.loss_high);
}

}  // namespace isoflop
