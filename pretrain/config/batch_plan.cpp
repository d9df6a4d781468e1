#include "pretrain/config/batch_plan.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

constexpr int64_t kMostLevels = 1000;

/// The level of `step`; the ramp has one from step 0 on.
const BatchLevel& level_at(const std::vector<BatchLevel>& ramp, int64_t step) {
  const auto after =
      std::upper_bound(ramp.begin(), ramp.end(), step,
                       [](int64_t s, const BatchLevel& level) { return s < level.first_step; });
  return *std::prev(after);
}

int64_t smallest_micro_batches(const ScheduleConfig& schedule, int64_t unit) {
  const int64_t from = schedule.batch_ramp_from ? schedule.batch_ramp_from : unit;
  if (from % unit == 0 && from <= schedule.batch_tokens) return from / unit;
  const int64_t most = schedule.batch_tokens / unit;
  const int64_t nearest =
      std::clamp<int64_t>(std::llround(static_cast<double>(from) / static_cast<double>(unit)), 1,
                          most) *
      unit;
  fail_user(
      "schedule.batch_ramp_from = {} is not a multiple of slots x micro_batch x context = {} that "
      "a "
      "batch of {} tokens can grow from; the nearest is {}",
      from, unit, schedule.batch_tokens, nearest);
}

std::vector<BatchLevel> ramp_of(const ScheduleConfig& schedule, const BatchPlan& plan) {
  if (schedule.batch_ramp <= 0) return {};
  const int64_t unit = plan.slots * plan.micro_tokens();
  const int64_t smallest = smallest_micro_batches(schedule, unit);
  const int64_t rise = plan.micro_batches - smallest;
  if (rise == 0) return {};
  const int64_t levels = std::min(rise, kMostLevels);
  const double share = schedule.batch_ramp / static_cast<double>(levels);
  std::vector<BatchLevel> ramp;
  BatchLevel next;
  for (int64_t k = 0; k < levels; ++k) {
    next.micro_batches = smallest + rise * k / levels;
    ramp.push_back(next);
    const auto steps =
        static_cast<int64_t>(std::ceil(share / static_cast<double>(next.micro_batches * unit)));
    next.first_step += steps;
    next.first_sequence += steps * next.micro_batches * plan.slots * plan.micro_batch;
  }
  next.micro_batches = plan.micro_batches;
  ramp.push_back(next);
  return ramp;
}

}  // namespace

int64_t BatchPlan::micro_batches_at(int64_t step) const {
  return ramp.empty() ? micro_batches : level_at(ramp, step).micro_batches;
}

int64_t BatchPlan::first_sequence(int64_t step) const {
  if (ramp.empty()) return step * sequences();
  const BatchLevel& level = level_at(ramp, step);
  return level.first_sequence +
         (step - level.first_step) * slots * level.micro_batches * micro_batch;
}

double BatchPlan::steps_of(double tokens) const {
  if (ramp.empty()) return tokens / static_cast<double>(this->tokens());
  const auto after = std::find_if(ramp.begin(), ramp.end(), [&](const BatchLevel& level) {
    return static_cast<double>(level.first_sequence * context) > tokens;
  });
  const BatchLevel& level = *std::prev(after);
  const double rest = tokens - static_cast<double>(level.first_sequence * context);
  const double step = static_cast<double>(slots * level.micro_batches * micro_tokens());
  return static_cast<double>(level.first_step) + rest / step;
}

BatchPlan batch_plan(const RunConfig& config) {
  const ScheduleConfig& s = config.schedule;
  const int64_t context = config.model.context;
  BatchPlan plan{.slots = s.slots,
                 .micro_batches = s.batch_tokens / (s.slots * s.micro_batch * context),
                 .micro_batch = s.micro_batch,
                 .context = context};
  plan.ramp = ramp_of(s, plan);
  return plan;
}

}  // namespace isoflop
