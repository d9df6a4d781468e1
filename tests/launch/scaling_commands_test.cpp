// `fit` and `plan` from the command line: the forms that scripts rely on, and what is refused.
#include "tests/support/program.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <string>

namespace isoflop {
namespace {

using nlohmann::json;
using test::ProgramResult;

class ScalingCommands : public ::testing::Test {
 protected:
  ProgramResult run(const std::string& arguments) const {
    return test::run_program(arguments, folder_.path(), "");
  }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_.path() / name) << text;
  }
  /// A refusal names what is wrong and leaves nothing on standard output.
  void expect_refused(const std::string& arguments, const std::string& says) const {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.code, 2) << arguments << ": " << result.err;
    EXPECT_NE(result.err.find(says), std::string::npos) << arguments << ": " << result.err;
    EXPECT_EQ(result.out, "");
  }
  static double law(double n, double d) {
    return 1.8 + 480 * std::pow(n, -0.35) + 2100 * std::pow(d, -0.37);
  }
  /// Sizes up to 40M at five lengths each, right on the law. In steps of 2 they share budgets, in
  /// steps of 3 no two do.
  static std::string runs(const std::string& header, double size_step = 2) {
    std::string text = header + "\n";
    for (double n = 1e6; n < 40e6; n *= size_step)
      for (double ratio = 5; ratio < 100; ratio *= 2)
        text += fmt::format("{},{},{}\n", n, ratio * n, law(n, ratio * n));
    return text;
  }

  test::TempDir folder_;
};

TEST_F(ScalingCommands, FitFindsTheLawAndPlanTakesIt) {
  write("runs.csv", runs("parameters,tokens,loss"));
  const ProgramResult fitted = run("fit runs.csv --bootstraps 20 --out law.json --json");
  ASSERT_EQ(fitted.code, 0) << fitted.err;
  const json fit = json::parse(fitted.out);
  EXPECT_NEAR(fit["E"].get<double>(), 1.8, 1e-3);
  EXPECT_NEAR(fit["alpha"].get<double>(), 0.35, 1e-3);
  EXPECT_NEAR(fit["beta"].get<double>(), 0.37, 1e-3);
  EXPECT_NEAR(fit["n_exponent"].get<double>(), 0.37 / 0.72, 1e-3);
  EXPECT_EQ(fit["runs"], 30);
  EXPECT_EQ(fit["residuals"].size(), 30u);

  write("short.csv", runs("N,D,loss"));
  EXPECT_EQ(json::parse(run("fit short.csv --bootstraps 0 --json").out)["E"], fit["E"]);

  const ProgramResult planned =
      run("plan --budget 1e18flop --hardware h100 --law law.json --write run.toml --json");
  ASSERT_EQ(planned.code, 0) << planned.err;
  const json plan = json::parse(planned.out);
  EXPECT_TRUE(plan["fits"].get<bool>());
  EXPECT_NEAR(plan["loss"].get<double>(),
              law(plan["law_parameters"].get<double>(), plan["tokens"].get<double>()), 2e-3);
  // What was written trains: only the text is missing.
  const ProgramResult dry = run("train run.toml data.train=absent.txt --dry-run --json");
  ASSERT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(json::parse(dry.out)["parameters"], plan["parameters"]);
}

// Runs that end where the bend said they would: right by it, wrong by the law.
TEST_F(ScalingCommands, OutcomesAreJudgedByTheLawAndByItsBend) {
  const std::string header = "parameters,tokens,loss\n";
  std::string runs_that_bend = header;
  for (const double flops : {1e17, 2e17, 4e17})
    for (const double n : {1e7, 2e7, 4e7, 8e7}) {
      const double d = flops / 6 / n;
      runs_that_bend += fmt::format("{},{},{}\n", n, d, law(n, d) * (flops == 4e17 ? 0.98 : 1));
    }
  write("bent.csv", runs_that_bend);
  const std::string fit_bent = "fit bent.csv --bootstraps 20 --json";
  const ProgramResult forecast = run(fit_bent + " --at 2e7,8e9 --at 8e7,4e9");
  ASSERT_EQ(forecast.code, 0) << forecast.err;
  std::string larger = header;
  const json forecasts = json::parse(forecast.out)["forecasts"];
  for (const json& f : forecasts)
    larger += fmt::format("{},{},{}\n", f["parameters"].get<double>(), f["tokens"].get<double>(),
                          f.at("loss_bent").get<double>());
  write("larger.csv", larger);
  const ProgramResult judged = run(fit_bent + " --outcomes larger.csv --page fit.html");
  ASSERT_EQ(judged.code, 0) << judged.err;
  const json by_law = json::parse(judged.out)["calibration"],
             by_bend = json::parse(judged.out)["calibration_bent"];
  EXPECT_EQ(by_law["runs"], 2);
  EXPECT_GT(by_law["median_error"].get<double>(), 0.01);
  EXPECT_EQ(by_bend["runs"], 2);
  EXPECT_EQ(by_bend["held"], 2);
  EXPECT_LT(by_bend["worst_error"].get<double>(), 1e-9);
  EXPECT_NE(judged.err.find("; with the bend "), std::string::npos) << judged.err;
  EXPECT_NE(test::slurp(folder_.path() / "fit.html").find("With the bend: 2 of 2"),
            std::string::npos);

  write("straight.csv", runs("N,D,loss"));
  const ProgramResult straight =
      run("fit straight.csv --outcomes straight.csv --bootstraps 20 --json");
  ASSERT_EQ(straight.code, 0) << straight.err;
  EXPECT_EQ(json::parse(straight.out)["calibration"]["runs"], 30);
  EXPECT_FALSE(json::parse(straight.out).contains("calibration_bent"));
  EXPECT_EQ(straight.err.find("the bend"), std::string::npos) << straight.err;
}

TEST_F(ScalingCommands, FitRefusesWhatIsNoTableOfRuns) {
  write("two.csv", "N,D,loss\n1e6,2e7,4.1\n2e6,4e7,3.8\n");
  expect_refused("fit two.csv", "2 runs are too few");
  write("columns.csv", "size,tokens,loss\n1e6,2e7,4.1\n");
  expect_refused("fit columns.csv",
                 "columns.csv:1: the header \"size,tokens,loss\" lacks a column");
  write("nan.csv", runs("N,D,loss") + "1e6,2e7,nan\n");
  expect_refused("fit nan.csv", "nan.csv:32: loss is \"nan\"");
  expect_refused("fit absent.csv", "absent.csv");
  write("runs.csv", runs("N,D,loss", 3));
  expect_refused("fit runs.csv --approach 2", "approach 2 does not go");
}

TEST_F(ScalingCommands, PlanSaysNoWithTheNearest) {
  const ProgramResult small = run("plan --budget 1e24flop --hardware a100-40gb --json");
  EXPECT_EQ(small.code, 3);
  EXPECT_NE(small.err.find("this cannot be done: training needs"), std::string::npos) << small.err;
  EXPECT_NE(small.err.find("the nearest plan that can"), std::string::npos) << small.err;
  const json plan = json::parse(small.out);
  EXPECT_FALSE(plan["fits"].get<bool>());
  EXPECT_TRUE(plan["nearest"]["fits"].get<bool>());
  EXPECT_LE(plan["nearest"]["seconds"].get<double>(), 365.0 * 24 * 3600);

  const ProgramResult pi =
      run("plan --budget 1e22flop --hardware 64x8xh100 --runs-on pi4-4gb --write x.toml --json");
  EXPECT_EQ(pi.code, 3);
  EXPECT_NE(pi.err.find("pi4-4gb has"), std::string::npos) << pi.err;
  const json bound = json::parse(pi.out);
  EXPECT_GT(bound["runs_on"]["shortfall_bytes"].get<double>(), 0);
  EXPECT_FALSE(bound["runs_on"]["runs"].get<bool>());
  EXPECT_TRUE(bound["nearest"]["runs_on"]["runs"].get<bool>());
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "x.toml"));

  const ProgramResult laptop =
      run("plan --budget 1e22flop --hardware 64x8xh100 --runs-on laptop-32gb --json");
  EXPECT_EQ(laptop.code, 0) << laptop.err;
  EXPECT_TRUE(json::parse(laptop.out)["runs_on"]["runs"].get<bool>());
}

TEST_F(ScalingCommands, PlanRefusesWhatItCannotRead) {
  expect_refused("plan --budget 30 --hardware h100", "--budget 30");
  expect_refused("plan --budget 1e18flop --hardware h101", "h101");
  expect_refused("plan --budget 1e18flop --hardware h100 --runs-on pi9", "pi9");
  expect_refused("plan --budget 1e18flop --hardware h100 --law absent", "absent");
  expect_refused("plan --budget 1flop --hardware h100", "does not pay for one step");
}

}  // namespace
}  // namespace isoflop
