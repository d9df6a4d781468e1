// Sweeps: what is tried, the table, and whole sweeps of tiny models from the command line.
#include "core/error.hpp"
#include "launch/sweep_plan.hpp"
#include "tests/support/program.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <set>

namespace isoflop {
namespace {

using nlohmann::json;
using test::ProgramResult;

std::string refusal(const std::string& axis) {
  try {
    parse_axis(axis);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(SweepAxis, AFactorTwoGridUnlessAnotherIsNamed) {
  EXPECT_EQ(grid_settings({parse_axis("optimizer.lr=1e-3:8e-3")}),
            (std::vector<std::vector<std::string>>{{"0.001"}, {"0.002"}, {"0.004"}, {"0.008"}}));
  EXPECT_EQ(parse_axis("optimizer.lr=1:100:10").values, (std::vector<double>{1, 10, 100}));
  // Whole numbers stay whole, each once; other tools' names are understood.
  EXPECT_EQ(parse_axis("schedule.batch_tokens=1:4:1.3").values, (std::vector<double>{1, 2, 3, 4}));
  EXPECT_EQ(parse_axis("learning_rate=3e-3,1e-3").key, "optimizer.lr");
  EXPECT_EQ(grid_settings({parse_axis("optimizer.lr=1e-3,2e-3"), parse_axis("model.init_std=0.02")})
                .size(),
            2u);
}

TEST(SweepAxis, RefusesWhatIsNoNumberOrChangesNothing) {
  EXPECT_NE(refusal("optimizer.rl=1:2").find("did you mean optimizer.lr"), std::string::npos)
      << refusal("optimizer.rl=1:2");
  EXPECT_NE(refusal("schedule.decay=1:2").find("only numbers"), std::string::npos);
  EXPECT_NE(refusal("checkpoint.every=1:2").find("does not depend"), std::string::npos);
  EXPECT_NE(refusal("data.seed=1,2").find("--seeds"), std::string::npos);
  EXPECT_NE(refusal("model.d_model=64,128").find("--widths"), std::string::npos);
  EXPECT_NE(refusal("optimizer.lr=fast").find("\"fast\" is no number"), std::string::npos);
  EXPECT_NE(refusal("optimizer.lr=nan").find("no number"), std::string::npos);
  EXPECT_NE(refusal("optimizer.lr=0:1").find("0 < LOW"), std::string::npos);
  EXPECT_NE(refusal("optimizer.lr=2:1").find("0 < LOW"), std::string::npos);
  EXPECT_NE(refusal("optimizer.lr=1e-9:1:1.0000001").find("larger factor"), std::string::npos);
  EXPECT_NE(refusal("optimizer.lr").find("KEY=LOW:HIGH"), std::string::npos);
}

TEST(SweepAxis, DrawsSpreadOverTheLogarithm) {
  const std::vector<SweepAxis> axes = {parse_axis("optimizer.lr=1e-4:1")};
  const auto drawn = random_settings(axes, 400, 7);
  EXPECT_EQ(drawn, random_settings(axes, 400, 7));
  EXPECT_NE(drawn, random_settings(axes, 400, 8));
  int below = 0;
  for (const auto& setting : drawn) {
    const double value = std::stod(setting[0]);
    EXPECT_GE(value, 1e-4);
    EXPECT_LE(value, 1.0);
    below += value < 1e-2;
  }
  EXPECT_NEAR(below, 200, 40);  // four deviations of a binomial
}

SweepRow row_of(int64_t width, uint64_t seed, const char* value, double loss) {
  SweepRow row;
  row.parametrization = "mup";
  row.width = width;
  row.layers = 2;
  row.steps = row.last_step = 100;
  row.seed = seed;
  row.values = {value};
  row.parameters = 1e5;
  row.tokens = 2e5;
  row.flops = 1.25e11;
  row.loss = row.train_loss = loss;
  return row;
}

TEST(SweepTable, IsReadAsItWasWritten) {
  SweepTable table{{"optimizer.lr"}, {row_of(128, 2, "0.01", 2.5), row_of(64, 1, "0.002", NAN)}};
  const std::string text = to_csv(table);
  EXPECT_EQ(text.substr(0, 25), "parameters,tokens,flops,l");
  const SweepTable read = parse_sweep(text, "x.csv");
  EXPECT_EQ(to_csv(read), text);
  ASSERT_EQ(read.rows.size(), 2u);
  EXPECT_TRUE(read.rows[0].diverged());  // the narrower first
  EXPECT_EQ(read.rows[1].loss, 2.5);
  EXPECT_NE(read.find(table.rows[0]), nullptr);
  EXPECT_EQ(read.find(row_of(128, 3, "0.01", 2.5)), nullptr);
}

TEST(SweepTable, RefusesWhatIsNone) {
  const std::string good = to_csv({{"optimizer.lr"}, {row_of(64, 1, "0.002", 2.5)}});
  const auto refused = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    try {
      parse_sweep(text, "x.csv");
    } catch (const UserError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refused("2.5", "2.5"), "");
  EXPECT_NE(refused("tokens", "tokns").find("x.csv:1: this is no table of a sweep: column 2"),
            std::string::npos);
  EXPECT_NE(refused("2.500000,", "nan,").find("contradict"), std::string::npos);
  EXPECT_NE(refused("2.500000,", "x,").find("x.csv:2: loss is \"x\""), std::string::npos);
  EXPECT_NE(refused(",0.002", "").find("values under a header"), std::string::npos);
  EXPECT_NE(refused("0.002", "fast").find("optimizer.lr is \"fast\""), std::string::npos);
  EXPECT_THROW(parse_sweep("", "x.csv"), UserError);
}

TEST(SweepTable, GroupsModelsAndProfilesKeys) {
  SweepTable table{{"optimizer.lr", "optimizer.weight_decay"}, {}};
  const auto add = [&](int64_t width, const char* lr, const char* decay, double loss) {
    table.rows.push_back(row_of(width, 1, lr, loss));
    table.rows.back().values.push_back(decay);
  };
  add(64, "0.001", "0.1", 3);
  add(64, "0.001", "0.2", 2);
  add(64, "0.002", "0.1", NAN);
  add(64, "0.002", "0.2", 4);
  add(128, "0.001", "0.1", 1);
  const std::vector<SweepGroup> groups = groups_of(table);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].width, 64);
  const std::vector<SweepPoint> points = profile(groups[0], 0);
  ASSERT_EQ(points.size(), 2u);
  EXPECT_EQ(points[0].loss, 2);
  EXPECT_EQ(points[1].loss, 4);
}

/// Tiny models on a text of few words.
class SweepCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 400; ++i) text += i % 3 ? "the cat sat " : "a dog ran off\n";
    std::ofstream(folder_.path() / "text.txt") << text;
    std::ofstream(folder_.path() / "run.toml")
        << "[model]\nlayers = 1\nd_model = 16\nheads = 2\ncontext = 16\n[data]\ntrain = "
           "[\"text.txt\"]\ntokenizer = \"chars\"\nvalid_fraction = 0.1\n[schedule]\nsteps = "
           "12\nbatch_tokens = 64\nwarmup = \"0\"\n[compute]\ndtype = \"fp32\"\n";
  }
  ProgramResult run(const std::string& arguments) const {
    return test::run_program("sweep run.toml " + arguments, folder_.path(), "");
  }
  std::string table(const std::string& out) const {
    return test::slurp(folder_.path() / out / "sweep.csv");
  }

  test::TempDir folder_;
};

TEST_F(SweepCommand, FillsATableWhoseBitsDoNotDependOnTheJobs) {
  const ProgramResult one = run("--over optimizer.lr=1e-3:8e-3 --widths 16,32 --out a --json");
  ASSERT_EQ(one.code, 0) << one.err;
  const json result = json::parse(one.out);
  EXPECT_EQ(result["trials"], 8);
  EXPECT_EQ(result["optima"].size(), 2u);
  EXPECT_EQ(result["optima"][0]["key"], "optimizer.lr");
  EXPECT_NE(one.err.find("8 trials, "), std::string::npos) << one.err;  // before the first
  EXPECT_NE(one.err.find("FLOP in all; judged by held-out text"), std::string::npos);
  ASSERT_EQ(run("--over optimizer.lr=1e-3:8e-3 --widths 16,32 --out b --jobs 3").code, 0);
  EXPECT_EQ(table("a"), table("b"));
  EXPECT_EQ(parse_sweep(table("a"), "a").rows.size(), 8u);
  EXPECT_NE(test::slurp(folder_.path() / "a" / "optima.csv").find("optimizer.lr"),
            std::string::npos);
  // fit reads it; what it misses is another length.
  EXPECT_NE(
      test::run_program("fit a/sweep.csv", folder_.path(), "").err.find("same number of tokens"),
      std::string::npos);
}

TEST_F(SweepCommand, GoesOnWhereItWasAndOnlyThere) {
  ASSERT_EQ(run("--over optimizer.lr=1e-3:8e-3 --out a").code, 0);
  const std::string whole = table("a");
  SweepTable cut = parse_sweep(whole, "a");
  cut.rows.resize(2);
  cut.rows[0].loss = 1.25;  // so that a second run of it would show
  std::ofstream(folder_.path() / "a" / "sweep.csv") << to_csv(cut);
  const ProgramResult again = run("--over optimizer.lr=1e-3:8e-3 --out a");
  EXPECT_NE(again.err.find("; 2 are there already"), std::string::npos) << again.err;
  SweepTable now = parse_sweep(table("a"), "a");
  ASSERT_EQ(now.rows.size(), 4u);
  EXPECT_EQ(now.rows[0].loss, 1.25);
  now.rows[0].loss = parse_sweep(whole, "a").rows[0].loss;
  EXPECT_EQ(to_csv(now), whole);
  EXPECT_NE(run("--over optimizer.lr=1e-3:8e-3 optimizer.weight_decay=0.3 --out a")
                .err.find("has a sweep with optimizer.weight_decay = 0.1, here it is 0.3"),
            std::string::npos);
  EXPECT_NE(run("--over optimizer.eps=1e-9,1e-8 --out a").err.find("has a sweep over optimizer.lr"),
            std::string::npos);
}

TEST_F(SweepCommand, KeepsTrialsThatDiverge) {
  const ProgramResult result =
      run("--over optimizer.lr=1e-3,2e-3,4e-3,1e30 --out a optimizer.clip=0 --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const SweepTable kept = parse_sweep(table("a"), "a");
  ASSERT_EQ(kept.rows.size(), 4u);
  EXPECT_TRUE(kept.rows[3].diverged());
  EXPECT_LT(kept.rows[3].last_step, 12);
  EXPECT_EQ(json::parse(result.out)["optima"][0]["diverged"], 1);
}

TEST_F(SweepCommand, HalvingEndsWithThreeAtFullLength) {
  const ProgramResult result =
      run("--over optimizer.lr=2.5e-4:8e-3 --search halving --out a --json");
  ASSERT_EQ(result.code, 0) << result.err;
  const SweepTable table_of = parse_sweep(table("a"), "a");
  std::map<int64_t, std::set<double>> rates;
  for (const SweepRow& row : table_of.rows) rates[row.steps].insert(std::stod(row.values[0]));
  ASSERT_EQ(rates.size(), 2u);
  EXPECT_EQ(rates[6].size(), 6u);
  EXPECT_EQ(rates[12].size(), 3u);
  EXPECT_EQ(json::parse(result.out)["trials"], 9);
}

TEST_F(SweepCommand, RefusesBeforeAnythingRuns) {
  const auto refused = [&](const std::string& arguments, const std::string& says) {
    const ProgramResult result = run(arguments);
    EXPECT_EQ(result.code, 2) << arguments << result.err;
    EXPECT_NE(result.err.find(says), std::string::npos) << arguments << ": " << result.err;
  };
  refused("", "needs --over");
  refused("--over optimizer.rate=1e-3:1e-2", "unknown key");
  refused("--over optimizer.lr=1e-3:1e-2 --search best", "grid, random and halving");
  refused("--over optimizer.lr=1e-3:1e-2 --search random", "--trials");
  refused("--over optimizer.lr=1e-3:1e-2 --widths 20", "multiple of 8");
  refused("--over optimizer.lr=1e-3:1e-2 --search halving schedule.warmup=6steps",
          "the run has only 6");
  refused("--over optimizer.lr=1e-3:1e-2 compute.device=cuda", "trains on CPUs only");
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "runs" / "run-sweep" / "sweep.csv"));
  const ProgramResult dry = run("--over optimizer.lr=1e-3:1e-2 --dry-run --json");
  ASSERT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(json::parse(dry.out)["trials"], 4);
}

// Rates far too low: the best lies at the end of the sweep, and the gate says so.
TEST_F(SweepCommand, TransferWritesOnlyWhatPassesUnlessForced) {
  const std::string line =
      "transfer run.toml model.d_model=128 parametrization.kind=mup "
      "parametrization.base_d_model=16 "
      "model.heads=16 --over optimizer.lr=1e-5:4e-5 --widths 16,32,64 --steps 6 --write full.toml";
  const ProgramResult failed = test::run_program(line + " --json", folder_.path(), "");
  EXPECT_EQ(failed.code, 3) << failed.err;
  const json verdict = json::parse(failed.out);
  EXPECT_FALSE(verdict["pass"].get<bool>());
  EXPECT_EQ(verdict["keys"][0]["widths"].size(), 3u);
  EXPECT_NE(failed.err.find("lies at the end of what was swept"), std::string::npos) << failed.err;
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "full.toml"));

  const ProgramResult forced = test::run_program(line + " --force", folder_.path(), "");
  ASSERT_EQ(forced.code, 0) << forced.err;
  EXPECT_NE(forced.err.find("9 are there already"), std::string::npos) << forced.err;
  const std::string written = test::slurp(folder_.path() / "full.toml");
  EXPECT_NE(written.find("sweep: optimum of width 16"), std::string::npos) << written;
  EXPECT_NE(written.find("gate FAILED"), std::string::npos) << written;
  EXPECT_NE(written.find("rule of mup"), std::string::npos) << written;
  const ProgramResult dry =
      test::run_program("train full.toml --dry-run --json", folder_.path(), "");
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(json::parse(dry.out)["steps"], 12) << dry.out;
}

TEST_F(SweepCommand, TransferRefusesWhatCannotTransfer) {
  const auto refused = [&](const std::string& words, const std::string& says) {
    const ProgramResult result = test::run_program(
        "transfer run.toml --over optimizer.lr=1e-3:4e-3 " + words, folder_.path(), "");
    EXPECT_EQ(result.code, 2) << words << result.err;
    EXPECT_NE(result.err.find(says), std::string::npos) << result.err;
  };
  refused("", "needs --widths");
  refused("--widths 16,32", "at least three");
  refused("--widths 16,32,64", "has no rule");
}

}  // namespace
}  // namespace isoflop
