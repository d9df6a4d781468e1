#include "scaling/fit.hpp"

#include "core/file.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "pretrain/config/quantity.hpp"
#include "report/humanize.hpp"
#include "scaling/fit_page.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kSeed = 1;
constexpr double kLevel = 0.8;

struct Options {
  std::string table;
  int approach = 3;
  int bootstraps = 1000;
  std::string counts = "all";
  std::string out, outcomes, page;
  std::vector<std::string> at;
};

using Member = double LawTerms::*;
constexpr std::pair<const char*, Member> kTerms[] = {{"E", &LawTerms::E},
                                                     {"A", &LawTerms::A},
                                                     {"B", &LawTerms::B},
                                                     {"alpha", &LawTerms::alpha},
                                                     {"beta", &LawTerms::beta}};

Json json_of(const std::optional<PowerLaws>& laws, const std::string& why) {
  if (!laws) return {{"reason", why}};
  return {{"n_scale", laws->n_scale},
          {"n_exponent", laws->n_exponent},
          {"d_scale", laws->d_scale},
          {"d_exponent", laws->d_exponent}};
}

/// Everything about one table, as the JSON says it.
struct Study {
  std::vector<RunPoint> points;
  LawFit fit;
  std::vector<LawTerms> resampled;
  std::string no_envelope, no_isoflop;
  std::optional<PowerLaws> envelope, isoflop;
  std::optional<ParabolaBias> bias;
  std::optional<LeftOut> without_size, without_budget;

  Study(std::vector<RunPoint> runs, int bootstraps)
      : points(std::move(runs)),
        fit(fit_law(points)),
        resampled(bootstrap_law(fit, points, bootstraps, kSeed)),
        envelope(fit_envelope(points, no_envelope)),
        isoflop(fit_isoflop(points, no_isoflop)),
        bias(parabola_bias(fit.terms, points)),
        without_size(leave_largest_out(points)),
        without_budget(leave_budget_out(points)) {}

  Interval interval(Member member) const {
    std::vector<double> values;
    for (const LawTerms& law : resampled) values.push_back(law.*member);
    return interval_of(values, kLevel);
  }
  Interval exponent_interval() const {
    std::vector<double> values;
    for (const LawTerms& law : resampled) values.push_back(law.beta / (law.alpha + law.beta));
    return interval_of(values, kLevel);
  }
  /// The runs of the largest budget are off, together, by more than the law's residuals let the
  /// mean of so many be (two of its standard errors).
  bool bends() const {
    return without_budget && std::abs(without_budget->mean_error) >
                                 2 * fit.residual / std::sqrt(without_budget->points);
  }
  double error(const RunPoint& p) const {
    return fit.terms.loss(p.parameters, p.tokens) / p.loss - 1;
  }
};

Json json_of(const LeftOut& left, const char* key) {
  return {{key, left.from},
          {"runs", left.points},
          {"mean_error", left.mean_error},
          {"worst_error", left.worst_error}};
}

Json json_of(const Study& study, int approach) {
  const LawFit& fit = study.fit;
  Json json = {{"approach", approach}, {"runs", study.points.size()}};
  for (const auto& [name, member] : kTerms) json[name] = fit.terms.*member;
  if (!study.resampled.empty()) {
    for (const auto& [name, member] : kTerms) {
      const Interval i = study.interval(member);
      json["intervals"][name] = {i.low, i.high};
    }
    const Interval i = study.exponent_interval();
    json["intervals"]["n_exponent"] = {i.low, i.high};
  }
  json["interval_level"] = kLevel;
  json["bootstraps"] = study.resampled.size();
  json["objective"] = fit.objective;
  json["residual"] = fit.residual;
  json["approaches"]["1"] = json_of(study.envelope, study.no_envelope);
  json["approaches"]["2"] = json_of(study.isoflop, study.no_isoflop);
  json["approaches"]["3"] = json_of(power_laws_of(fit.terms), "");
  const Json& chosen = json["approaches"][std::to_string(approach)];
  for (const char* key : {"n_scale", "n_exponent", "d_scale", "d_exponent"})
    json[key] = chosen[key];
  if (study.bias)
    json["parabola_bias"] = {{"n_exponent", study.bias->exponent}, {"size", study.bias->size}};
  if (study.without_size) json["leave_largest_out"] = json_of(*study.without_size, "parameters");
  if (study.without_budget) json["leave_budget_out"] = json_of(*study.without_budget, "flops");
  for (const RunPoint& p : study.points)
    json["residuals"].push_back({{"parameters", p.parameters},
                                 {"tokens", p.tokens},
                                 {"loss", p.loss},
                                 {"error", study.error(p)}});
  return json;
}

void print_approach(const char* name,
                    const std::optional<PowerLaws>& laws,
                    const std::string& why,
                    const Context& context) {
  if (laws)
    context.print("{:<24} N = {:.4g} C^{:.4f}   D = {:.4g} C^{:.4f}", name, laws->n_scale,
                  laws->n_exponent, laws->d_scale, laws->d_exponent);
  else
    context.print("{:<24} {}", name, why);
}

void print_left_out(const LeftOut& left, const std::string& what, const Context& context) {
  context.print(
      "without the largest {}, {} runs) the law misses it by {:+.2f} % on average, {:.2f} % at "
      "worst",
      what, left.points, 100 * left.mean_error, 100 * left.worst_error);
}

void print(const Study& study, const Context& context) {
  context.print("{} runs: L = E + A/N^alpha + B/D^beta, ln L off by {:.2f} %", study.points.size(),
                100 * study.fit.residual);
  for (const auto& [name, member] : kTerms) {
    std::string range;
    if (!study.resampled.empty()) {
      const Interval i = study.interval(member);
      range = fmt::format("   {:.5g} to {:.5g} (80 %, {} resamplings)", i.low, i.high,
                          study.resampled.size());
    }
    context.print("  {:<6} {:<10.5g}{}", name, study.fit.terms.*member, range);
  }
  print_approach("approach 1, envelope", study.envelope, study.no_envelope, context);
  print_approach("approach 2, isoFLOP", study.isoflop, study.no_isoflop, context);
  if (study.bias)
    context.print(
        "  a parabola is not the curve: on these sizes, without any noise, approach 2 "
        "would find\n  an exponent {:+.4f} off, and {:+.1f} % of N at the largest budget",
        study.bias->exponent, 100 * study.bias->size);
  print_approach("approach 3, parametric", power_laws_of(study.fit.terms), "", context);
  if (const auto& left = study.without_size)
    print_left_out(*left, fmt::format("size ({} parameters", human_count(left->from)), context);
  if (const auto& left = study.without_budget)
    print_left_out(*left, fmt::format("budget ({:.2g} FLOPs", left->from), context);
  if (study.bends())
    context.print(
        "  that is more than chance: the runs bend away from the law, and what it says of more "
        "FLOPs\n  is probably too {} by as much for every such step; leave the smallest "
        "budgets out, or add larger ones",
        study.without_budget->mean_error > 0 ? "high" : "low");
  const RunPoint& worst = *std::max_element(
      study.points.begin(), study.points.end(), [&](const RunPoint& a, const RunPoint& b) {
        return std::abs(study.error(a)) < std::abs(study.error(b));
      });
  context.print("worst residual: {:+.2f} % at N = {}, D = {} (--json lists all)",
                100 * study.error(worst), human_count(worst.parameters), human_count(worst.tokens));
}

LossLaw law_of(const Study& study, const Options& options) {
  LossLaw law;
  law.source = fmt::format("isoflop fit of {}, {} runs", options.table, study.points.size());
  law.counts = parse_parameter_count(options.counts);
  law.terms = study.fit.terms;
  law.residual = study.fit.residual;
  const auto [low, high] =
      std::minmax_element(study.points.begin(), study.points.end(),
                          [](const RunPoint& a, const RunPoint& b) { return a.flops < b.flops; });
  law.flops_low = low->flops;
  law.flops_high = high->flops;
  // Enough for an interval, and a file that people can look at.
  constexpr size_t kMostKept = 200;
  law.resampled.assign(study.resampled.begin(),
                       study.resampled.begin() + static_cast<std::ptrdiff_t>(
                                                     std::min(kMostKept, study.resampled.size())));
  return law;
}

/// "N,D", both as the table has them.
std::pair<double, double> parse_point(const std::string& text) {
  const size_t comma = text.find(',');
  if (comma == std::string::npos)
    fail_user("--at {}: write parameters and tokens, such as --at 43e6,860e6", text);
  return {parse_tokens(text.substr(0, comma), "--at"),
          parse_tokens(text.substr(comma + 1), "--at")};
}

Json forecast(const Study& study,
              const LossLaw& law,
              const std::string& text,
              const Context& context) {
  const auto [parameters, tokens] = parse_point(text);
  const Outcome o = judge(law, {{parameters, tokens}}).front();
  context.print("{} parameters on {} tokens: loss {:.4f}, 80 % between {:.4f} and {:.4f}",
                human_count(parameters), human_count(tokens), o.loss, o.range.low, o.range.high);
  Json json = {{"parameters", parameters},
               {"tokens", tokens},
               {"loss", o.loss},
               {"loss_low", o.range.low},
               {"loss_high", o.range.high}};
  if (study.bends()) {
    const double loss = bent(o.loss, 6 * parameters * tokens, *study.without_budget);
    context.print("  {:.4f} if they go on to bend", loss);
    json["loss_bent"] = loss;
  }
  return json;
}

Json calibration_json(const std::vector<Outcome>& outcomes,
                      const char* by,
                      const Context& context) {
  const Calibration c = calibration_of(outcomes);
  context.print("{}: {} of {} outcomes within their 80 % intervals, median error {:.2f} %", by,
                c.held, c.runs, 100 * c.median_error);
  return {{"runs", c.runs},
          {"held", c.held},
          {"median_error", c.median_error},
          {"worst_error", c.worst_error}};
}

/// Runs that the fit has not seen, beside what it says of them.
void report_outcomes(const std::vector<Outcome>& outcomes,
                     const std::vector<Outcome>& bent_outcomes,
                     const Context& context,
                     Json& json) {
  const auto text = [](const Outcome& o) {
    return fmt::format("{:.4f} ({:.4f} to {:.4f}), {:+.2f} %", o.loss, o.range.low, o.range.high,
                       100 * o.error());
  };
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const RunPoint& run = outcomes[i].run;
    context.print("{} parameters on {} tokens: {:.4f}, forecast {}{}", human_count(run.parameters),
                  human_count(run.tokens), run.loss, text(outcomes[i]),
                  bent_outcomes.empty() ? "" : "; with the bend " + text(bent_outcomes[i]));
  }
  json["calibration"] = calibration_json(outcomes, "by the law", context);
  if (!bent_outcomes.empty())
    json["calibration_bent"] = calibration_json(bent_outcomes, "with the bend", context);
}

ExitCode run(const Options& options, const Context& context) {
  parse_parameter_count(options.counts);
  const Study study(parse_runs(read_file(options.table), options.table), options.bootstraps);
  const bool possible =
      (options.approach != 1 || study.envelope) && (options.approach != 2 || study.isoflop);
  if (!possible)
    fail_user("{}: approach {} does not go: {}", options.table, options.approach,
              options.approach == 1 ? study.no_envelope : study.no_isoflop);
  print(study, context);
  Json json = json_of(study, options.approach);
  if ((!options.at.empty() || !options.outcomes.empty()) && study.resampled.empty())
    fail_user("a forecast needs resamplings for its interval; leave --bootstraps 0 out");
  for (const std::string& point : options.at)
    json["forecasts"].push_back(forecast(study, law_of(study, options), point, context));
  std::vector<Outcome> outcomes, bent_outcomes;
  if (!options.outcomes.empty()) {
    outcomes =
        judge(law_of(study, options), parse_runs(read_file(options.outcomes), options.outcomes));
    if (study.bends()) bent_outcomes = bent(outcomes, *study.without_budget);
    report_outcomes(outcomes, bent_outcomes, context, json);
  }
  if (!options.page.empty()) {
    write_file_atomically(options.page, fit_page("Law of " + options.table, study.fit, study.points,
                                                 outcomes, bent_outcomes));
    context.print("wrote {}", options.page);
  }
  if (!options.out.empty()) {
    write_file_atomically(options.out, law_to_json(law_of(study, options)));
    context.print("wrote {}; use it by isoflop plan --law {}", options.out, options.out);
    json["file"] = options.out;
  }
  context.result(json);
  return ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("table", options->table, "runs: parameters,tokens,loss or N,D,loss (flops or C)")
      ->required();
  app.add_option("--approach", options->approach,
                 "whose exponents are the answer: 1 envelope, 2 isoFLOP, 3 parametric law")
      ->check(in_range(1, 3))
      ->capture_default_str();
  app.add_option("--bootstraps", options->bootstraps, "resamplings for the intervals")
      ->check(in_range(0, 100000))
      ->capture_default_str();
  app.add_option("--counts", options->counts,
                 "what the table's parameters are: all | one_table | non_embedding | matmul")
      ->capture_default_str();
  app.add_option(
      "--at", options->at,
      "also the loss to expect of PARAMETERS,TOKENS, with its interval; may be repeated");
  app.add_option("--outcomes", options->outcomes,
                 "a table of runs that the fit has not seen, to be judged by it");
  app.add_option("--page", options->page,
                 "draw isoFLOP curves, residuals and outcomes as a page of HTML, this file");
  app.add_option("--out", options->out, "write the law to this file, for plan --law");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command fit_command() {
  return {"fit", "a scaling law from a table of runs",
          "isoflop fit runs.csv --out law.json\n  isoflop fit runs.csv --approach 2 --json\n  "
          "isoflop fit runs.csv --at 43e6,860e6\n  isoflop fit "
          "ladder.csv --outcomes larger.csv --page fit.html",
          declare};
}

}  // namespace isoflop
