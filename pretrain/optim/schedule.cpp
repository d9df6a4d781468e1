#include "pretrain/optim/schedule.hpp"

#include "core/error.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/quantity.hpp"
#include "pretrain/config/resolve.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace isoflop {

namespace {

constexpr double kMostSteps = 9007199254740992;  // 2^53

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

int64_t warmup_steps(const Warmup& warmup, const RunConfig& config, int64_t steps) {
  if (warmup.fraction > 0) return std::llround(warmup.fraction * static_cast<double>(steps));
  if (warmup.tokens > 0)
    return std::llround(std::min(kMostSteps, batch_plan(config).steps_of(warmup.tokens)));
  return warmup.steps;
}

Schedule::Decay decay_of(const std::string& name) {
  if (name == "linear") return Schedule::Decay::linear;
  if (name == "cosine") return Schedule::Decay::cosine;
  if (name == "wsd") return Schedule::Decay::wsd;
  ISOFLOP_CHECK(name == "constant", "decay {} passed the config's checks", name);
  return Schedule::Decay::constant;
}

}  // namespace

Warmup parse_warmup(std::string_view text) {
  Warmup warmup;
  if (ends_with(text, "tok")) {
    warmup.tokens = parse_tokens(text, "schedule.warmup");
    return warmup;
  }
  std::string_view unit = text;
  double number = 0;
  const bool good = take_number(unit, number) && number >= 0;
  if (good && unit == "%" && number < 100) {
    warmup.fraction = number / 100;
  } else if (good && (unit.empty() || unit == "steps" || unit == "step") &&
             number == std::floor(number) && number <= kMostSteps) {
    warmup.steps = static_cast<int64_t>(number);
  } else {
    fail_user("schedule.warmup = \"{}\": write \"1%\" of the run, \"375Mtok\" or \"100steps\"",
              text);
  }
  return warmup;
}

Schedule make_schedule(const RunConfig& run, int64_t steps) {
  ISOFLOP_CHECK(steps >= 1, "a run of {} steps", steps);
  const ScheduleConfig& config = run.schedule;
  Schedule schedule;
  schedule.decay = decay_of(config.decay);
  schedule.peak = run.optimizer.lr;
  schedule.final_fraction = config.final_lr_fraction;
  schedule.steps = steps;
  schedule.warmup = warmup_steps(parse_warmup(config.warmup), run, steps);
  if (schedule.warmup >= steps && schedule.warmup > 0) {
    fail_user(
        "schedule.warmup = \"{}\" is {} steps, but the run has only {}; set schedule.warmup=\"1%\" "
        "or "
        "make the run longer",
        config.warmup, schedule.warmup, steps);
  }
  const int64_t wanted = std::llround(config.cooldown_fraction * static_cast<double>(steps));
  const int64_t last = std::min(wanted, steps - schedule.warmup);
  if (schedule.decay == Schedule::Decay::wsd) schedule.cooldown = last;
  if (config.quantize != "none") schedule.quantize_after = steps - last;
  return schedule;
}

Schedule schedule_of(const RunConfig& config, int64_t parameters) {
  return make_schedule(config, planned_steps(config, parameters));
}

double Schedule::rate(int64_t step) const {
  ISOFLOP_CHECK(step >= 0, "rate of step {}", step);
  const int64_t done = std::min(step, steps - 1) + 1;
  if (done <= warmup) return peak * static_cast<double>(done) / static_cast<double>(warmup);
  const double t = static_cast<double>(done - warmup) / static_cast<double>(steps - warmup);
  const double fall = 1 - final_fraction;
  switch (decay) {
    case Decay::linear:
      return peak * (1 - fall * t);
    case Decay::cosine:
      return peak * (final_fraction + fall * (1 + std::cos(std::numbers::pi * t)) / 2);
    case Decay::wsd: {
      const int64_t into = done - (steps - cooldown);
      if (into <= 0) return peak;
      return peak *
             (1 - fall * std::sqrt(static_cast<double>(into) / static_cast<double>(cooldown)));
    }
    case Decay::constant:
      break;
  }
  return peak;
}

std::string draw(const Schedule& schedule, int columns, int rows) {
  ISOFLOP_CHECK(columns >= 2 && rows >= 2, "a plot of {} x {}", columns, rows);
  std::vector<std::string> canvas(static_cast<size_t>(rows),
                                  std::string(static_cast<size_t>(columns), ' '));
  for (int x = 0; x < columns; ++x) {
    const double along = static_cast<double>(x) / (columns - 1);
    const int64_t step = std::llround(along * static_cast<double>(schedule.steps - 1));
    const double height = schedule.rate(step) / schedule.peak;
    const int y = std::clamp(static_cast<int>(std::lround(height * (rows - 1))), 0, rows - 1);
    canvas[static_cast<size_t>(rows - 1 - y)][static_cast<size_t>(x)] = '*';
  }
  std::string out;
  for (int y = 0; y < rows; ++y) {
    std::string label;
    if (y == 0) label = fmt::format("{:.3g}", schedule.peak);
    if (y == rows - 1) label = "0";
    std::string& line = canvas[static_cast<size_t>(y)];
    line.erase(line.find_last_not_of(' ') + 1);
    out += fmt::format("{:>8} |{}\n", label, line);
  }
  out += fmt::format("{:>8} +{}\n", "", std::string(static_cast<size_t>(columns), '-'));
  const std::string last = std::to_string(schedule.steps);
  out += fmt::format("{:>8}  1{:>{}}\n", "step", last, columns - 1);
  out += fmt::format("warm-up {} steps to {:.3g}, last step {:.3g}\n", schedule.warmup,
                     schedule.peak, schedule.rate(schedule.steps - 1));
  return out;
}

}  // namespace isoflop
