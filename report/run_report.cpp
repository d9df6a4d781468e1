#include "report/run_report.hpp"

#include "core/error.hpp"
#include "report/chart.hpp"
#include "report/humanize.hpp"
#include "report/page.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace isoflop {

namespace {

constexpr size_t kPoints = 500;  // of a curve, more cannot be told apart
constexpr size_t kShownSamples = 5;
constexpr size_t kLogBytes = 20'000;
/// A loss starts at the logarithm of the vocabulary and falls within a few steps: leaving the
/// highest values out lets the rest be seen.
constexpr double kIgnoredLosses = 0.03;

/// Curves of one metric in several runs, or of several metrics in one.
struct Curve {
  const RunRecord& run;
  std::string metric, name;
  int color;
  Series::Style style = Series::Style::line;
};

/// What a plan let expect, with its band (pretrain/train/forecast.hpp); smooth, so a point of each
/// stretch is enough.
Series plan_series(const Curve& curve) {
  Series series{curve.name, {}, {}, Series::Style::dashed, curve.color};
  const MetricSeries *loss = curve.run.find("plan/loss"), *low = curve.run.find("plan/low"),
                     *high = curve.run.find("plan/high");
  if (!loss || !low || !high || low->steps != loss->steps || high->steps != loss->steps)
    return series;
  const size_t stride = loss->steps.size() / kPoints + 1;
  for (size_t back = loss->steps.size(); back > 0; back -= std::min(back, stride)) {
    series.x.insert(series.x.begin(), loss->steps[back - 1]);
    series.y.insert(series.y.begin(), loss->values[back - 1]);
    series.low.insert(series.low.begin(), low->values[back - 1]);
    series.high.insert(series.high.begin(), high->values[back - 1]);
  }
  return series;
}

std::string curves(const std::string& title,
                   const std::string& unit,
                   const std::vector<Curve>& of,
                   double scale = 1,
                   double ignore_highest = 0) {
  Chart chart{.title = title, .x_label = "step", .y_label = unit, .series = {}};
  chart.ignore_highest = ignore_highest;
  for (const Curve& curve : of) {
    const MetricSeries* metric = curve.run.find(curve.metric);
    if (!metric) continue;
    if (curve.metric == "plan/loss") {
      chart.series.push_back(plan_series(curve));
      continue;
    }
    Series series{curve.name, metric->steps, metric->values, curve.style, curve.color};
    for (double& value : series.y) value *= scale;
    chart.series.push_back(curve.style == Series::Style::line ? thinned(std::move(series), kPoints)
                                                              : std::move(series));
  }
  return draw(chart);
}

std::vector<Curve> loss_curves(const RunRecord& run, const std::string& prefix, int color) {
  std::vector<Curve> result = {{run, "train/loss", prefix + "training", color}};
  int next = color;
  for (const auto& [name, series] : run.metrics)  // valid/loss, valid/NAME/loss
    if (name.starts_with("valid/") && name.ends_with("loss"))
      result.push_back({run, name, prefix + name.substr(0, name.rfind('/')),
                        next = (next + 1) % kChartColors, Series::Style::dots});
  result.push_back({run, "plan/loss", prefix + "plan", (next + 1) % kChartColors});
  return result;
}

std::string read_if_there(const fs::path& path) {
  return fs::is_regular_file(path) ? read_file(path) : "";
}

/// Last finite value.
std::string last_of(const RunRecord& run, const std::string& metric, const char* format) {
  const MetricSeries* series = run.find(metric);
  if (series)
    for (auto value = series->values.rbegin(); value != series->values.rend(); ++value)
      if (std::isfinite(*value)) return fmt::format(fmt::runtime(format), *value);
  return "";
}

double sum_of(const RunRecord& run, const std::string& metric) {
  double sum = 0;
  if (const MetricSeries* series = run.find(metric))
    for (const double value : series->values) sum += std::isfinite(value) ? value : 0;
  return sum;
}

Facts outcome(const RunRecord& run) {
  Facts facts;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) facts.emplace_back(name, value);
  };
  const MetricSeries* loss = run.find("train/loss");
  if (loss) add("steps taken", fmt::format("{:.0f}", loss->steps.back()));
  add("training loss of the last step", last_of(run, "train/loss", "{:.4f} nats per token"));
  add("validation loss", last_of(run, "valid/loss", "{:.4f} nats per token"));
  add("bits per byte", last_of(run, "valid/bits_per_byte", "{:.4f}"));
  if (const std::string plan = last_of(run, "plan/loss", "{:.4f}"); !plan.empty()) {
    add("the plan at that step",
        fmt::format("{} ({} to {})", plan, last_of(run, "plan/low", "{:.4f}"),
                    last_of(run, "plan/high", "{:.4f}")));
    add("forecast of the final loss", last_of(run, "plan/final_loss", "{:.4f} nats per token"));
  }
  add("time in steps", human_duration(sum_of(run, "perf/step_ms") / 1e3));
  if (const double peak =
          run.find("mem/peak_bytes") ? run.find("mem/peak_bytes")->values.back() : 0;
      peak > 0)
    add("peak memory", human_bytes(peak));
  if (run.find("train/skipped"))
    add("skipped updates", fmt::format("{:.0f}", sum_of(run, "train/skipped")));
  return facts;
}

std::vector<std::vector<std::string>> rows_of(const Facts& facts) {
  std::vector<std::vector<std::string>> rows = {{"what", "value"}};
  for (const auto& [name, value] : facts) rows.push_back({name, value});
  return rows;
}

void add_samples(Page& page, const RunRecord& run) {
  if (run.samples.empty()) return;
  page.section("What it wrote while learning");
  const size_t count = run.samples.size(), shown = std::min(count, kShownSamples);
  for (size_t i = 0; i < shown; ++i) {  // the first, the last, and evenly between
    const auto& [step, text] = run.samples[shown == 1 ? 0 : i * (count - 1) / (shown - 1)];
    page.paragraph(step);
    page.preformatted(text);
  }
}

}  // namespace

const MetricSeries* RunRecord::find(const std::string& metric) const {
  const auto found = metrics.find(metric);
  return found == metrics.end() ? nullptr : &found->second;
}

RunRecord read_run_record(const fs::path& run) {
  RunRecord record;
  record.name = fs::weakly_canonical(run).filename().string();
  record.metrics = read_metric_series(run);
  record.command = read_if_there(run / "command.txt");
  record.config = read_if_there(run / "config.toml");
  record.environment = read_if_there(run / "environment.json");
  record.kernel_plan = read_if_there(run / "kernel-plan.json");
  record.log = read_if_there(run / "log.txt");
  if (record.log.size() > kLogBytes)
    record.log =
        "...\n" + record.log.substr(record.log.find('\n', record.log.size() - kLogBytes) + 1);
  if (fs::is_directory(run / "samples"))
    for (const auto& entry : fs::directory_iterator(run / "samples"))
      if (entry.is_regular_file())
        record.samples.emplace_back(entry.path().stem().string(), read_file(entry.path()));
  std::sort(record.samples.begin(), record.samples.end());
  return record;
}

std::string run_page(const RunRecord& run, const Facts& facts) {
  Page page("Run " + run.name);
  Facts all = facts;
  for (const auto& fact : outcome(run)) all.push_back(fact);
  page.table(rows_of(all));
  page.section("Loss");
  page.figure(curves("Loss", "nats per token", loss_curves(run, "", 0), 1, kIgnoredLosses));
  page.section("Optimizer");
  page.figure(curves("Learning rate", "rate", {{run, "optim/lr", "", 2}}));
  page.figure(curves("Gradient norm before clipping", "norm", {{run, "optim/grad_norm", "", 1}}, 1,
                     kIgnoredLosses));
  page.section("Speed");
  page.figure(curves("Throughput", "tokens/s", {{run, "perf/tokens_per_s", "", 3}}));
  page.figure(curves("Share of the machine's product rate (MFU)", "percent",
                     {{run, "perf/mfu", "", 4}}, 100));
  add_samples(page, run);
  page.section("How it came about");
  for (const auto& [summary, text] :
       {std::pair{"command", &run.command}, std::pair{"config.toml", &run.config},
        std::pair{"environment.json", &run.environment},
        std::pair{"kernel-plan.json", &run.kernel_plan}, std::pair{"log.txt", &run.log}})
    if (!text->empty()) page.folded(summary, *text);
  return page.text();
}

LossDifference compare_losses(const MetricSeries& a, const MetricSeries& b) {
  constexpr size_t kBlocks = 10;
  constexpr double kStudent = 2.262;  // 97.5 % quantile of t with 9 degrees of freedom
  std::map<double, double> of_a;
  for (size_t i = 0; i < a.steps.size(); ++i) of_a.emplace(a.steps[i], a.values[i]);
  std::vector<double> steps, differences;
  for (size_t i = 0; i < b.steps.size(); ++i) {
    const auto other = of_a.find(b.steps[i]);
    if (other == of_a.end() || !std::isfinite(b.values[i] - other->second)) continue;
    steps.push_back(b.steps[i]);
    differences.push_back(b.values[i] - other->second);
  }
  const size_t count = steps.size() / 5;
  if (count < 2 * kBlocks) return {};
  const size_t begin = steps.size() - count;
  LossDifference result{static_cast<int64_t>(steps[begin]), static_cast<int64_t>(steps.back()),
                        static_cast<int64_t>(kBlocks)};
  std::vector<double> means;
  for (size_t block = 0; block < kBlocks; ++block) {
    const size_t first = block * count / kBlocks, last = (block + 1) * count / kBlocks;
    double sum = 0;
    for (size_t i = first; i < last; ++i) sum += differences[begin + i];
    means.push_back(sum / static_cast<double>(last - first));
    result.mean += means.back() / kBlocks;
  }
  double squares = 0;
  for (const double mean : means) squares += (mean - result.mean) * (mean - result.mean);
  result.half_width = kStudent * std::sqrt(squares / (kBlocks - 1) / kBlocks);
  return result;
}

std::string in_words(const LossDifference& d,
                     const std::string& name_a,
                     const std::string& name_b) {
  if (d.blocks == 0) return "too few common steps to compare the losses";
  const std::string where = fmt::format("over steps {} to {}", d.first_step, d.last_step);
  if (d.mean == 0 && d.half_width == 0) return "the losses are equal " + where;
  const std::string size =
      fmt::format("{:.4f} \u00b1 {:.4f} nats per token {}", std::abs(d.mean), d.half_width, where);
  if (!d.clear()) return fmt::format("no clear difference: {}", size);
  return fmt::format("{} is lower by {}", d.mean < 0 ? name_b : name_a, size);
}

std::string comparison_page(const RunRecord& a,
                            const RunRecord& b,
                            const std::vector<KeyDifference>& config) {
  // Runs of one name in different folders are told apart.
  const std::string name_a = a.name == b.name ? a.name + " (first)" : a.name;
  const std::string name_b = a.name == b.name ? b.name + " (second)" : b.name;
  Page page(name_a + " and " + name_b);
  const MetricSeries *loss_a = a.find("train/loss"), *loss_b = b.find("train/loss");
  if (loss_a && loss_b) {
    page.paragraph("Training loss: " + in_words(compare_losses(*loss_a, *loss_b), name_a, name_b) +
                   " (95 % of such stretches of these two runs; other seeds may differ by more).");
    Chart chart{"Difference of the training losses", "step", name_b + " \u2212 " + name_a, {}};
    Series series;
    std::map<double, double> of_a;
    for (size_t i = 0; i < loss_a->steps.size(); ++i)
      of_a.emplace(loss_a->steps[i], loss_a->values[i]);
    for (size_t i = 0; i < loss_b->steps.size(); ++i)
      if (const auto other = of_a.find(loss_b->steps[i]); other != of_a.end()) {
        series.x.push_back(loss_b->steps[i]);
        series.y.push_back(loss_b->values[i] - other->second);
      }
    chart.series.push_back(thinned(std::move(series), kPoints / 5));
    page.figure(draw(chart));
  }
  page.section("Outcome");
  std::vector<std::vector<std::string>> rows = {{"what", name_a, name_b}};
  const Facts facts_a = outcome(a), facts_b = outcome(b);
  for (const auto& [name, value] : facts_a) {
    const auto other = std::find_if(facts_b.begin(), facts_b.end(),
                                    [&, &key = name](const auto& f) { return f.first == key; });
    rows.push_back({name, value, other == facts_b.end() ? "" : other->second});
  }
  page.table(rows);
  page.section("Loss");
  std::vector<Curve> both = loss_curves(a, name_a + " ", 0);
  for (const Curve& curve : loss_curves(b, name_b + " ", 2)) both.push_back(curve);
  page.figure(curves("Loss", "nats per token", both, 1, kIgnoredLosses));
  page.section("Speed");
  page.figure(curves("Throughput", "tokens/s",
                     {{a, "perf/tokens_per_s", name_a, 0}, {b, "perf/tokens_per_s", name_b, 2}}));
  page.section("What was configured differently");
  if (config.empty()) page.paragraph("Nothing.");
  rows = {{"key", name_a, name_b}};
  for (const KeyDifference& difference : config)
    rows.push_back({difference.key, difference.a, difference.b});
  if (!config.empty()) page.table(rows);
  return page.text();
}

}  // namespace isoflop
