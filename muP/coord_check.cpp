#include "muP/coord_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

namespace isoflop {

const char* name_of(CoordModule module) {
  constexpr const char* kNames[] = {"embedding", "attention logits", "attention",
                                    "mlp",       "residual stream",  "logits"};
  return kNames[static_cast<size_t>(module)];
}

namespace {

/// 97.5 % points of Student's distribution for 1 to 10 degrees of freedom; beyond, an expansion
/// that is right to 1 %.
double student(size_t freedom) {
  constexpr double kPoints[] = {12.706, 4.303, 3.182, 2.776, 2.571,
                                2.447,  2.365, 2.306, 2.262, 2.228};
  if (freedom == 0) return std::numeric_limits<double>::infinity();
  if (freedom <= 10) return kPoints[freedom - 1];
  return 1.96 + 2.37 / static_cast<double>(freedom);
}

}  // namespace

SlopeFit fit_slope(const std::vector<double>& sizes, const std::vector<double>& values) {
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < sizes.size() && i < values.size(); ++i)
    if (values[i] > 0 && std::isfinite(values[i]))
      points.push_back({std::log2(sizes[i]), std::log2(values[i])});
  const double n = static_cast<double>(points.size());
  double x = 0, y = 0, xx = 0, xy = 0;
  for (const auto& p : points) {
    x += p.first / n;
    y += p.second / n;
  }
  for (const auto& p : points) {
    xx += (p.first - x) * (p.first - x);
    xy += (p.first - x) * (p.second - y);
  }
  const double nan = std::numeric_limits<double>::quiet_NaN();
  if (!(xx > 0)) return {nan, nan, nan};
  const double slope = xy / xx;
  double rest = 0;
  for (const auto& p : points) {
    const double error = p.second - y - slope * (p.first - x);
    rest += error * error;
  }
  const size_t freedom = points.size() - 2;
  const double deviation = freedom > 0 ? std::sqrt(rest / static_cast<double>(freedom) / xx) : 1;
  return {slope, slope - student(freedom) * deviation, slope + student(freedom) * deviation};
}

namespace {

/// Geometric means over the steps from `first` to `last`, one per (size, seed), and their slope.
SlopeFit slope_of(const std::vector<CoordRow>& rows,
                  CoordModule module,
                  double CoordRow::*value,
                  int64_t first,
                  int64_t last) {
  std::map<std::pair<double, uint64_t>, std::pair<double, double>> sums;  // of logarithms, and n
  for (const CoordRow& row : rows) {
    if (row.module != module || row.step < first || row.step > last) continue;
    auto& sum = sums[{row.size, row.seed}];
    sum.first += std::log(row.*value);
    sum.second += 1;
  }
  std::vector<double> sizes, values;
  for (const auto& [key, sum] : sums) {
    sizes.push_back(key.first);
    values.push_back(std::exp(sum.first / sum.second));
  }
  return fit_slope(sizes, values);
}

bool is_judged(CoordModule module, CoordDimension dimension) {
  return dimension == CoordDimension::width ? module != CoordModule::stream
                                            : module == CoordModule::stream;
}

/// The last step before the change of any module that is looked at shrinks, at any size.
int64_t find_turn(const std::vector<CoordRow>& rows, CoordDimension dimension, int64_t last) {
  // (module, size) -> step -> log of the change, summed over the seeds, which all have every step.
  std::map<std::pair<CoordModule, double>, std::map<int64_t, double>> curves;
  for (const CoordRow& row : rows)
    if (row.step > 1 && is_judged(row.module, dimension) && row.module != CoordModule::embedding)
      curves[{row.module, row.size}][row.step] += std::log(row.change);
  for (const auto& [key, curve] : curves)
    for (auto now = curve.begin(); now != curve.end(); ++now)
      if (now != curve.begin() && now->second < std::prev(now)->second)
        last = std::min(last, std::prev(now)->first);
  return last;
}

/// Nearer to a whole power of the width than to none.
constexpr double kSteep = 0.4;

/// Names what is most likely wrong from which slopes are steep, and when. The order matters: a
/// wrong start shows at later steps, too.
void explain(CoordVerdict& verdict, const CoordSetting& setting) {
  const auto at = [&verdict](CoordModule module) -> const CoordSlope& {
    return verdict.slopes[static_cast<size_t>(module)];
  };
  const CoordSlope& attention = at(CoordModule::attention);
  const CoordSlope& mlp = at(CoordModule::mlp);
  const CoordSlope& logits = at(CoordModule::logits);
  if (setting.dimension == CoordDimension::depth) {
    verdict.cause =
        "the branches of all blocks add up: each counts the same however many there are";
    verdict.fix =
        "parametrization.kind = \"completep\" with one base_layers for all depths: branches count "
        "(layers / base_layers)^-alpha";
    return;
  }
  if (setting.kind == "sp") {
    verdict.cause = "the standard parametrization does not know the width";
    verdict.fix =
        "parametrization.kind = \"mup\" with one parametrization.base_d_model for all widths";
    return;
  }
  const bool hidden_starts = attention.start.slope > 0.25 || mlp.start.slope > 0.25;
  const bool logits_start = logits.start.slope > 0.1;  // -0.5 when all is right
  const auto fast = [](const CoordSlope& slope) {
    return slope.change.slope > kSteep || slope.late.slope > kCoordLateLimit;
  };
  const bool hidden_fast = fast(attention) || fast(mlp);
  const bool hidden_slow =
      attention.change.slope < -kSteep || mlp.change.slope < -kSteep ||
      (!setting.heads_grow && at(CoordModule::attention_logits).change.slope < -kSteep);
  if (hidden_starts && logits_start) {
    verdict.cause = "no rule reaches the models: each is measured against a base width of its own";
    verdict.fix =
        "parametrization.kind = \"mup\" with one parametrization.base_d_model for all widths";
  } else if (hidden_starts) {
    verdict.cause = "the initial variance of the hidden matrices does not fall as 1/width";
    verdict.fix = "initial deviation x sqrt(base_d_model / d_model) for every hidden matrix";
  } else if (logits_start) {
    verdict.cause = "the output multiplier base_d_model / d_model is missing";
    verdict.fix = "divide the logits by d_model / base_d_model";
  } else if (setting.heads_grow && !hidden_fast && !at(CoordModule::attention_logits).pass) {
    verdict.cause = "heads grow with the width, but attention is scaled by 1/sqrt(head_dim)";
    verdict.fix = "scale attention by 1/head_dim, or keep head_dim and add heads";
  } else if (hidden_fast) {
    verdict.cause = fmt::format("the rate of the hidden matrices does not fall as {}",
                                setting.muon ? "1/sqrt(width), which Muon needs" : "1/width");
    verdict.fix =
        fmt::format("rate x {} for every hidden matrix",
                    setting.muon ? "sqrt(base_d_model / d_model)" : "base_d_model / d_model");
  } else if (hidden_slow && setting.muon) {
    verdict.cause =
        "the rate of the hidden matrices falls faster than 1/sqrt(width), perhaps as 1/width, "
        "which is AdamW's and not Muon's";
    verdict.fix = "rate x sqrt(base_d_model / d_model) for every hidden matrix, once";
  } else if (hidden_slow) {
    verdict.cause =
        "the rate of the hidden matrices falls faster than 1/width, or Adam's epsilon is not small "
        "beside their gradients, which fall as 1/width";
    verdict.fix =
        "rate x base_d_model / d_model for every hidden matrix, once; a smaller optimizer.eps, or "
        "parametrization.epsilon = \"scaled\"";
  } else {
    // A correct model of widths that are few or narrow ends here, too.
    verdict.cause =
        "no known mistake looks like this; where the interval reaches the limit, noise may do";
    verdict.fix = "more seeds, wider models, or widths further apart";
  }
}

/// Whether a module's mean may fall as a root of the width: a sum of `width` products of
/// independent values, divided by the width.
bool may_fall(CoordModule module, const CoordSetting& setting) {
  if (setting.dimension == CoordDimension::depth) return false;
  return module == CoordModule::logits ||
         (module == CoordModule::attention_logits && setting.heads_grow);
}

/// One slope and what it is held to.
struct Held {
  enum Which : uint8_t { start, change, late } which = start;
  SlopeFit fit;
  double low = 0, high = 0;
  /// How far out; NaN when there is no slope.
  double excess() const { return std::max(low - fit.slope, fit.slope - high); }
};

std::vector<Held> held(const CoordSlope& slope, const CoordSetting& setting) {
  const double none = -std::numeric_limits<double>::infinity();
  const bool depth = setting.dimension == CoordDimension::depth;
  const bool falls = may_fall(slope.module, setting);
  const double third = kCoordLimit / 3;
  if (slope.module == CoordModule::embedding)
    return {{Held::start, slope.start, none, third}, {Held::late, slope.late, -third, third}};
  std::vector<Held> all = {
      {Held::change, slope.change, -kCoordChangeLimit - (falls ? 0.5 : 0), kCoordChangeLimit},
      {Held::late, slope.late, none, depth ? kCoordLimit : kCoordLateLimit}};
  // Deep branches may start as they like; logits of heads that grow have to fall.
  const bool must_fall = falls && slope.module == CoordModule::attention_logits;
  if (!depth) all.push_back({Held::start, slope.start, none, (must_fall ? -0.5 : 0) + kCoordLimit});
  return all;
}

std::string describe(
    CoordModule module, const Held& worst, int64_t turn, int64_t first, int64_t last, bool depth) {
  const char* size = depth ? "layers" : "width";
  const SlopeFit& fit = worst.fit;
  const bool should_fall = worst.which == Held::start && worst.high < 0;
  std::string steps = "before the first update";
  if (worst.which == Held::change) steps = fmt::format("over steps 2 to {}", turn);
  if (worst.which == Held::late) steps = fmt::format("at steps {} to {}", first, last);
  return fmt::format("{}: {} {} {}^{:+.2f} ({:+.2f} to {:+.2f}) {}{}", name_of(module),
                     worst.which == Held::change ? "the change of x" : "mean |x|",
                     should_fall      ? "goes as"
                     : fit.slope >= 0 ? "grows as"
                                      : "falls as",
                     size, fit.slope, fit.low, fit.high, steps,
                     should_fall ? fmt::format(", where {}^-0.50 is right", size) : "");
}

/// The first row that is not finite, if any.
const CoordRow* find_diverged(const std::vector<CoordRow>& rows) {
  for (const CoordRow& row : rows)
    if (!std::isfinite(row.mean) || !std::isfinite(row.change)) return &row;
  return nullptr;
}

}  // namespace

CoordVerdict judge(const std::vector<CoordRow>& rows, const CoordSetting& setting) {
  CoordVerdict verdict;
  const bool depth = setting.dimension == CoordDimension::depth;
  int64_t last = 1;
  for (const CoordRow& row : rows) last = std::max(last, row.step);
  const int64_t first = std::min<int64_t>(depth ? 2 : 4, last);
  verdict.turn = find_turn(rows, setting.dimension, last);
  for (const CoordModule module : kCoordModules) {
    CoordSlope slope;
    slope.module = module;
    slope.start = slope_of(rows, module, &CoordRow::mean, 1, 1);
    slope.change = slope_of(rows, module, &CoordRow::change, 2, verdict.turn);
    slope.late = slope_of(rows, module, &CoordRow::mean, first, last);
    slope.judged = is_judged(module, setting.dimension);
    verdict.slopes.push_back(slope);
  }
  double most = 0;
  for (CoordSlope& slope : verdict.slopes) {
    if (!slope.judged) continue;
    for (const Held& one : held(slope, setting)) {
      const double excess = one.excess();
      if (excess <= 0) continue;  // NaN fails
      slope.pass = verdict.pass = false;
      if (!verdict.finding.empty() && !(excess > most)) continue;
      most = excess;
      verdict.finding = describe(slope.module, one, verdict.turn, first, last, depth);
    }
  }
  if (const CoordRow* row = find_diverged(rows)) {
    verdict.pass = false;
    verdict.finding = fmt::format("{} of {} {} is not finite at step {}", name_of(row->module),
                                  depth ? "layers" : "width", row->size, row->step);
  }
  if (!verdict.pass) explain(verdict, setting);
  return verdict;
}

}  // namespace isoflop
