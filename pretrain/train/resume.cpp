#include "pretrain/train/resume.hpp"

#include "core/error.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/resolve.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace isoflop {

namespace {

bool is_length(const ConfigDifference& difference) {
  return std::find(kLengthKeys.begin(), kLengthKeys.end(), difference.key) != kLengthKeys.end();
}

std::string line_of(const ConfigDifference& difference) {
  return fmt::format("{}: {} -> {}", difference.key, difference.a, difference.b);
}

/// What another length does to the learning rate of a run that has done `step` steps.
std::string effect_on_rates(const Schedule& before, const Run& run, int64_t step) {
  const Schedule& now = run.schedule;
  int64_t differs = 0;
  while (differs < step && before.rate(differs) == now.rate(differs)) ++differs;
  if (differs == step)
    return fmt::format(
        "the rates so far are those of a run of {} steps, so it goes on as if planned that long",
        now.steps);
  return fmt::format(
      "the {} decay is stretched: step {} gets the rate {} where the old length had {}; steps up "
      "to {} keep the rates they had, so this is not quite the run that {} steps from the start "
      "would have been",
      run.config.schedule.decay, step + 1, human_rate(now.rate(step)),
      human_rate(before.rate(step)), step, now.steps);
}

}  // namespace

bool holds_run(const fs::path& folder) {
  return fs::exists(folder / "config.toml") || fs::exists(folder / "checkpoints") ||
         fs::exists(folder / "metrics.jsonl");
}

std::vector<std::string> changes_on_resume(const RunConfig& stored,
                                           const Run& now,
                                           int64_t step,
                                           bool extend) {
  std::vector<std::string> changes;
  std::vector<ConfigDifference> length;
  std::string refused, undo;
  for (const ConfigDifference& difference : compare_configs(stored, now.config)) {
    if (is_length(difference)) {
      length.push_back(difference);
    } else if (difference.frozen) {
      refused += "\n  " + line_of(difference);
      if (difference.a.front() != '(')
        undo += fmt::format("{}{}={}", undo.empty() ? "" : " ", difference.key, difference.a);
    } else {
      changes.push_back(line_of(difference));
    }
  }
  if (!refused.empty())
    fail_user(
        "the run cannot go on with another config; it would no longer compute what it began:{}\n"
        "put the old values back ({}), or start a new run with another --out",
        refused, undo.empty() ? "remove what was added" : undo);
  if (length.empty()) return changes;

  const Schedule before = schedule_of(stored, parameter_count(now.table));
  std::string lines;
  for (const ConfigDifference& difference : length) lines += "\n  " + line_of(difference);
  if (now.schedule.steps < before.steps)
    fail_user(
        "the run of {} steps cannot be made shorter ({} steps):{}\nput the old length back; to end "
        "early, write a file named 'stop' in its folder, or start a new run with another --out",
        before.steps, now.schedule.steps, lines);
  if (now.schedule.steps > before.steps && !extend)
    fail_user(
        "the run has {} steps, now {}:{}\nput the old length back, or add --extend to go on longer",
        before.steps, now.schedule.steps, lines);
  for (const ConfigDifference& difference : length) changes.push_back(line_of(difference));
  if (now.schedule.steps > before.steps)
    changes.push_back(fmt::format("extended from {} to {} steps: {}", before.steps,
                                  now.schedule.steps, effect_on_rates(before, now, step)));
  return changes;
}

}  // namespace isoflop
