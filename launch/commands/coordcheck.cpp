#include "core/file.hpp"
#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/coord_page.hpp"
#include "launch/coord_run.hpp"
#include "launch/family.hpp"
#include "launch/machine.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/train/prepare.hpp"
#include "pretrain/train/resume.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ConfigArguments words;
  std::string widths, depths, out, page;
  int64_t seeds = 3;
  int64_t steps = 10;
};

/// The models of a run file, over the same data.
struct Family {
  ConfigArguments words;
  std::vector<std::string> overrides;
  RunConfig base;  // as loaded
  fs::path folder;
  Machine machine;

  RunConfig config(CoordDimension dimension, int64_t size, Origins& origins) const {
    std::vector<std::string> all = overrides;
    const bool width = dimension == CoordDimension::width;
    for (std::string& change : resized(base, width ? size : 0, width ? 0 : size))
      all.push_back(std::move(change));
    return load_config(words.file(), all, origins);
  }
  Run open(CoordDimension dimension, int64_t size) const {
    Origins origins;
    RunConfig of_size = config(dimension, size, origins);
    return open_run(std::move(of_size), std::move(origins), folder);
  }
};

/// Sizes that cannot be are refused before anything is built.
void require_sizes(const Family& family,
                   CoordDimension dimension,
                   const std::vector<int64_t>& sizes) {
  for (const int64_t size : sizes) {
    Origins ignored;
    resolved(family.config(dimension, size, ignored));
  }
}

std::unique_ptr<Family> make_family(const Options& options, const Context& context) {
  std::vector<std::string> overrides = options.words.overrides();
  overrides.push_back("compute.dtype=fp32");  // the rules are looked at, not rounding
  overrides.push_back("compute.device=cpu");
  Origins origins;
  RunConfig base = load_config(options.words.file(), overrides, origins);
  for (const std::string& note : origins.notes) context.note("{}", note);
  fs::path folder = options.out.empty() ? fs::path("runs") / (base.output.name + "-coordcheck")
                                        : fs::path(options.out);
  if (holds_run(folder))
    fail_user("{} holds a run, whose data would be replaced; choose another --out",
              folder.string());
  const ComputeConfig compute = base.compute;
  return std::unique_ptr<Family>(new Family{options.words, std::move(overrides), std::move(base),
                                            std::move(folder), Machine(compute)});
}

/// Once for all sizes.
void build_data(const Family& family, const Context& context) {
  Origins origins;
  RunConfig base = load_config(family.words.file(), family.overrides, origins);
  fs::create_directories(family.folder);
  PrepareOptions prepare;
  prepare.folder = family.folder;
  prepare.note = [&context](const std::string& text) { context.note("{}", text); };
  prepare.threads = family.machine.team.size();
  prepare_run(std::move(base), std::move(origins), prepare);
}

CoordStudy measure(const Options& options,
                   const Family& family,
                   CoordDimension dimension,
                   const std::vector<int64_t>& sizes,
                   bool muon_alone,
                   const Context& context) {
  CoordStudy study;
  study.muon_alone = muon_alone;
  study.setting = {.dimension = dimension,
                   .kind = family.base.parametrization.kind,
                   .muon = family.base.optimizer.kind == "muon"};
  for (const int64_t size : sizes) {
    const Run run = family.open(dimension, size);
    const Sampler sampler(run.train, run.config.model.context, run.config.data.seed);
    for (int64_t seed = 1; seed <= options.seeds; ++seed) {
      context.note("{} {}, seed {}", dimension == CoordDimension::width ? "width" : "layers", size,
                   seed);
      const std::vector<CoordRow> rows = run_coordinates(
          {.config = run.config,
           .table = run.table,
           .batch = run.batch,
           .source = [&sampler](uint64_t sequence,
                                std::span<int32_t> window) { sampler.read(sequence, window); },
           .seed = static_cast<uint64_t>(seed),
           .steps = options.steps,
           .size = static_cast<double>(size),
           .muon_alone = muon_alone},
          *family.machine.backend);
      study.rows.insert(study.rows.end(), rows.begin(), rows.end());
    }
  }
  study.verdict = judge(study.rows, study.setting);
  return study;
}

Json fit_json(const SlopeFit& fit) {
  return {{"slope", fit.slope}, {"low", fit.low}, {"high", fit.high}};
}

Json report(const CoordStudy& study, const Context& context) {
  const CoordVerdict& verdict = study.verdict;
  context.print("{:<18} {:>16} {:>24} {:>24}", "", "start",
                fmt::format("change, steps 2 to {}", verdict.turn), "later steps");
  Json modules = Json::object();
  for (const CoordSlope& slope : verdict.slopes) {
    const auto text = [](const SlopeFit& fit) {
      return fmt::format("{:+.2f} ({:+.2f} {:+.2f})", fit.slope, fit.low, fit.high);
    };
    context.print("{:<18} {:>16} {:>24} {:>24}  {}", name_of(slope.module),
                  fmt::format("{:+.2f}", slope.start.slope), text(slope.change), text(slope.late),
                  !slope.judged ? ""
                  : slope.pass  ? "ok"
                                : "FAIL");
    modules[name_of(slope.module)] = {
        {"slope", slope.late.slope},    {"start", fit_json(slope.start)},
        {"late", fit_json(slope.late)}, {"change", fit_json(slope.change)},
        {"judged", slope.judged},       {"pass", slope.pass}};
  }
  Json rows = Json::array();
  for (const CoordRow& row : study.rows)
    rows.push_back({{"module", name_of(row.module)},
                    {"size", row.size},
                    {"step", row.step},
                    {"seed", row.seed},
                    {"mean", row.mean},
                    {"change", row.change}});
  return {{"pass", verdict.pass},
          {"turn", verdict.turn},
          {"modules", modules},
          {"finding", verdict.finding},
          {"cause", verdict.cause},
          {"fix", verdict.fix},
          {"rows", rows}};
}

std::vector<int64_t> sizes_of(const std::string& text, const std::string& flag) {
  if (text.empty()) return {};
  std::vector<int64_t> sizes = parse_sizes(text, flag);
  if (sizes.size() < 3) fail_user("{} {}: a slope needs at least three sizes", flag, text);
  return sizes;
}

ExitCode check(const Options& options, const Context& context) {
  if (!options.words.file() && options.words.preset.empty())
    fail_user("coordcheck needs a run.toml or --preset NAME");
  const std::vector<int64_t> widths = sizes_of(options.widths, "--widths");
  const std::vector<int64_t> depths = sizes_of(options.depths, "--depths");
  if (widths.empty() && depths.empty())
    fail_user("coordcheck needs --widths 64,128,256,512 or --depths 2,4,8,16");
  const std::unique_ptr<Family> family = make_family(options, context);
  require_sizes(*family, CoordDimension::width, widths);
  require_sizes(*family, CoordDimension::depth, depths);
  build_data(*family, context);
  Json result = {{"pass", true}};
  std::vector<CoordStudy> studies;
  for (const CoordDimension dimension : {CoordDimension::width, CoordDimension::depth}) {
    const bool width = dimension == CoordDimension::width;
    const std::vector<int64_t>& sizes = width ? widths : depths;
    if (sizes.empty()) continue;
    for (const bool muon_alone : {false, true}) {
      if (muon_alone && family->base.optimizer.kind != "muon") continue;
      studies.push_back(measure(options, *family, dimension, sizes, muon_alone, context));
      const CoordVerdict& verdict = studies.back().verdict;
      context.print("{} {}, {}, {} seeds, {} steps{}", width ? "widths" : "depths",
                    fmt::join(sizes, ", "), studies.back().setting.kind, options.seeds,
                    options.steps, muon_alone ? ", only what Muon updates moves" : "");
      const std::string key = width ? "width" : "depth";
      result[muon_alone ? key + "_muon" : key] = report(studies.back(), context);
      if (verdict.pass) {
        context.print("PASS: nothing depends on the {}\n", key);
      } else {
        context.print("FAIL: {}\n  likely cause: {}\n  what to do: {}\n", verdict.finding,
                      verdict.cause, verdict.fix);
        result["pass"] = false;
      }
    }
  }
  if (!options.page.empty()) {
    write_file_atomically(options.page,
                          coord_page("Coordinate check of " + family->base.output.name, studies));
    context.print("wrote {}", options.page);
    result["file"] = options.page;
  }
  context.result(result);
  return result["pass"].get<bool>() ? ExitCode::kDone : ExitCode::kGate;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("run", options->words.words, "run.toml and key=value changes");
  app.add_option("--preset", options->words.preset, "a named shape instead of a file");
  app.add_option("--widths", options->widths, "d_model of the models: 64,128,256,512");
  app.add_option("--depths", options->depths, "layers of the models: 2,4,8,16");
  app.add_option("--seeds", options->seeds, "initializations of each")->check(in_range(1, 1000));
  app.add_option("--steps", options->steps, "looks at each, the first before any update")
      ->check(in_range(4, 10000));
  app.add_option("--out", options->out, "folder for what is built from text; runs/NAME-coordcheck");
  app.add_option("--page", options->page,
                 "draw every module's curves as a page of HTML, this file");
  return [options, &context] { return check(*options, context); };
}

}  // namespace

Command coordcheck_command() {
  return {"coordcheck", "does anything in the model grow with its width or depth? (exit 3: yes)",
          "isoflop coordcheck run.toml --widths 64,128,256,512 optimizer.lr=4e-3", declare};
}

}  // namespace isoflop
