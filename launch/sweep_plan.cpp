#include "launch/sweep_plan.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"
#include "launch/family.hpp"
#include "pretrain/config/aliases.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/optim/schedule.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace isoflop {

namespace {

constexpr double kMostValues = 1000;

void require_sweepable(const std::string& key) {
  const Field* field = find_field(key);
  if (!field) fail_user("--over {}: unknown key; {}", key.substr(0, 200), nearest_key_hint(key));
  if (key == "data.seed") fail_user("--over data.seed: --seeds N tries N of them");
  if (key == "model.d_model" || key == "model.layers")
    fail_user("--over {}: {} changes it and keeps the rest of the model's shape in proportion", key,
              key == "model.layers" ? "--depths 2,4,8" : "--widths 64,128,256");
  const bool number = field->kind == FieldKind::integer || field->kind == FieldKind::tokens ||
                      field->kind == FieldKind::real;
  if (!number)
    fail_user("--over {}: it takes {}, and only numbers are swept", key, field->expects());
  if (!field->frozen || key.substr(0, 5) == "data.")
    fail_user("--over {}: what a model learns does not depend on it", key);
}

double parse_number(std::string_view text, const std::string& whole) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value))
    fail_user(
        "--over {}: \"{}\" is no number; write KEY=LOW:HIGH, KEY=LOW:HIGH:FACTOR or KEY=A,B,C",
        whole, text.substr(0, 40));
  return value;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string text_of(const SweepAxis& axis, double value) {
  if (axis.integer) return fmt::format("{}", std::llround(value));
  return fmt::format("{:.6g}", value);
}

/// Six digits are enough, and whole numbers where only they will do; each once.
void settle_values(SweepAxis& axis) {
  std::vector<double> settled;
  for (const double value : axis.values) {
    const double kept = std::stod(text_of(axis, value));
    if (std::find(settled.begin(), settled.end(), kept) == settled.end()) settled.push_back(kept);
  }
  std::sort(settled.begin(), settled.end());
  axis.values = std::move(settled);
}

}  // namespace

SweepAxis parse_axis(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == text.npos || equals == 0)
    fail_user("--over {}: write KEY=LOW:HIGH or KEY=A,B,C, such as optimizer.lr=1e-3:1.6e-2", text);
  SweepAxis axis;
  axis.key = text.substr(0, equals);
  const std::string ours = find_field(axis.key) ? "" : key_for_alias(axis.key);
  if (!ours.empty()) axis.key = ours;
  require_sweepable(axis.key);
  axis.integer = std::holds_alternative<int64_t>(find_field(axis.key)->get(RunConfig()));
  const std::string_view values = std::string_view(text).substr(equals + 1);
  const std::vector<std::string_view> ends = split(values, ':');
  if (ends.size() == 1) {
    for (const std::string_view value : split(values, ','))
      axis.values.push_back(parse_number(value, text));
  } else {
    if (ends.size() > 3) fail_user("--over {}: a range is LOW:HIGH or LOW:HIGH:FACTOR", text);
    axis.is_range = true;
    axis.low = parse_number(ends[0], text);
    axis.high = parse_number(ends[1], text);
    const double factor = ends.size() == 3 ? parse_number(ends[2], text) : 2;
    if (!(axis.low > 0) || !(axis.high > axis.low) || !(factor > 1))
      fail_user("--over {}: a range needs 0 < LOW < HIGH and a factor above 1", text);
    if (std::log(axis.high / axis.low) / std::log(factor) > kMostValues)
      fail_user("--over {}: more than {} values; take a larger factor", text, kMostValues);
    for (double value = axis.low; value <= axis.high * (1 + 1e-9); value *= factor)
      axis.values.push_back(value);
  }
  settle_values(axis);
  return axis;
}

std::vector<std::vector<std::string>> grid_settings(const std::vector<SweepAxis>& axes) {
  std::vector<std::vector<std::string>> settings = {{}};
  for (const SweepAxis& axis : axes) {
    std::vector<std::vector<std::string>> longer;
    for (const std::vector<std::string>& setting : settings)
      for (const double value : axis.values) {
        longer.push_back(setting);
        longer.back().push_back(text_of(axis, value));
      }
    settings = std::move(longer);
    if (static_cast<double>(settings.size()) > 100 * kMostValues)
      fail_user("the grid has more than {:g} settings; take fewer values or --search random",
                100 * kMostValues);
  }
  return settings;
}

std::vector<std::vector<std::string>> random_settings(const std::vector<SweepAxis>& axes,
                                                      int64_t count,
                                                      uint64_t seed) {
  std::vector<std::vector<std::string>> settings;
  for (int64_t i = 0; i < count; ++i) {
    std::vector<std::string> setting;
    for (size_t k = 0; k < axes.size(); ++k) {
      const SweepAxis& axis = axes[k];
      const double u = uniform01(seed, static_cast<uint64_t>(i), k);
      const size_t pick = static_cast<size_t>(u * static_cast<double>(axis.values.size()));
      setting.push_back(text_of(axis, axis.is_range
                                          ? axis.low * std::pow(axis.high / axis.low, u)
                                          : axis.values[std::min(pick, axis.values.size() - 1)]));
    }
    if (std::find(settings.begin(), settings.end(), setting) == settings.end())
      settings.push_back(std::move(setting));
  }
  return settings;
}

RunConfig SweepBase::config_of(const std::vector<std::string>& changes) const {
  Origins ignored;
  return parse_config(toml, "the sweep's run file", changes, ignored);
}

Trial make_trial(const SweepBase& base,
                 int64_t width,
                 int64_t layers,
                 const std::vector<std::string>& setting,
                 uint64_t seed,
                 int64_t steps) {
  Trial trial;
  if (width || layers) trial.changes = resized(base.config, width, layers);
  trial.changes.push_back(fmt::format("data.seed={}", seed));
  for (size_t k = 0; k < base.keys.size(); ++k)
    trial.changes.push_back(base.keys[k] + "=" + setting[k]);
  if (steps) trial.changes.push_back(fmt::format("schedule.steps={}", steps));
  const RunConfig config = resolved(base.config_of(trial.changes));
  SweepRow& row = trial.row;
  const int64_t parameters = all_parameter_count(config.model);
  row.parametrization = config.parametrization.kind;
  row.width = config.model.d_model;
  row.layers = config.model.layers;
  row.steps = planned_steps(config, parameters);
  row.seed = seed;
  row.values = setting;
  row.parameters = static_cast<double>(parameters);
  row.tokens = static_cast<double>(batch_plan(config).tokens_before(row.steps));
  row.flops = row.tokens * training_flops_per_token(config.model);
  make_schedule(config, row.steps);  // refuses a warm-up too long
  return trial;
}

}  // namespace isoflop
