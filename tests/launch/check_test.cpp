// The check before a launch: that it names what is wrong, and nothing else. How fast anything is,
// is not tested.
#include "launch/check/check.hpp"

#include "core/threads.hpp"
#include "launch/check/links.hpp"
#include "launch/check/stress.hpp"
#include "ops/forwarding_backend.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <set>

namespace isoflop {
namespace {

using Kind = CheckFinding::Kind;

CheckReport good_report(int ranks) {
  CheckReport report;
  for (int i = 0; i < ranks; ++i)
    report.ranks.push_back({.host = i < ranks / 2 ? "a" : "b",
                            .program = "p",
                            .kernels = "k",
                            .config = "c",
                            .data = "d",
                            .trouble = "",
                            .products = 100,
                            .memory = 50,
                            .product_bits = "x",
                            .sum_bits = "y"});
  for (int b = 0; b < ranks; ++b)
    for (int a = 0; a < b; ++a) {
      const bool within =
          report.ranks[static_cast<size_t>(a)].host == report.ranks[static_cast<size_t>(b)].host;
      report.links.push_back({a, b, 1e-5, within ? 10e9 : 1e9, true});
    }
  report.together = report.alone = "h";
  return report;
}

std::vector<int> only_ranks(const std::vector<CheckFinding>& findings, Kind kind) {
  if (findings.size() != 1 || findings[0].kind != kind) return {-1};
  return findings[0].ranks;
}

TEST(CheckReport, NothingIsFoundWhereNothingIsWrong) {
  // Links between hosts are slower than those within, which is as it should be.
  EXPECT_TRUE(judge(good_report(6)).empty());
  EXPECT_EQ(code_of({}), ExitCode::kDone);
  EXPECT_TRUE(judge(good_report(1)).empty());
}

TEST(CheckReport, WhoDiffersIsNamedByTheMajority) {
  for (const auto what :
       {&RankReport::program, &RankReport::config, &RankReport::data, &RankReport::kernels}) {
    CheckReport report = good_report(4);
    report.ranks[0].*what = "other";
    const std::vector<CheckFinding> findings = judge(report);
    EXPECT_EQ(only_ranks(findings, Kind::differs), std::vector<int>{0});
    EXPECT_EQ(code_of(findings), ExitCode::kGate);
    EXPECT_FALSE(alike(report));
  }
}

TEST(CheckReport, ARankThatCannotReadItsDataSaysWhy) {
  CheckReport report = good_report(2);
  report.ranks[1].trouble = "no such file";
  report.ranks[1].data = "";
  const std::vector<CheckFinding> findings = judge(report);
  ASSERT_EQ(only_ranks(findings, Kind::differs), std::vector<int>{1});
  EXPECT_NE(findings[0].text.find("rank 1 on b: no such file"), std::string::npos);
  EXPECT_FALSE(alike(report));
}

TEST(CheckReport, SlowRanksAndLinksAreNamed) {
  CheckReport report = good_report(6);
  report.ranks[4].products = 79;
  EXPECT_EQ(only_ranks(judge(report), Kind::slow), std::vector<int>{4});
  report.ranks[4].products = 81;
  EXPECT_TRUE(judge(report).empty());
  report.ranks[2].memory = 30;
  EXPECT_EQ(only_ranks(judge(report), Kind::slow), std::vector<int>{2});
  report.ranks[2].memory = 50;
  for (LinkReport& link : report.links)
    if (link.a == 1 && link.b == 5) link.bytes_per_s = 0.4e9;
  const std::vector<CheckFinding> findings = judge(report);
  EXPECT_EQ(only_ranks(findings, Kind::slow), (std::vector<int>{1, 5}));
  EXPECT_EQ(code_of(findings), ExitCode::kGate);
}

TEST(CheckReport, WrongBitsAreAFailureAndNotAGate) {
  CheckReport report = good_report(3);
  report.ranks[1].product_bits = "z";
  EXPECT_EQ(only_ranks(judge(report), Kind::wrong), std::vector<int>{1});
  report.ranks[1].product_bits = "x";
  report.ranks[2].steady = false;
  EXPECT_EQ(only_ranks(judge(report), Kind::wrong), std::vector<int>{2});
  report.ranks[2].steady = true;
  report.links[1].intact = false;
  EXPECT_EQ(only_ranks(judge(report), Kind::wrong), (std::vector<int>{0, 2}));
  report.links[1].intact = true;
  report.together = "i";
  const std::vector<CheckFinding> findings = judge(report);
  EXPECT_EQ(only_ranks(findings, Kind::wrong), std::vector<int>{});
  EXPECT_EQ(code_of(findings), ExitCode::kIo);
}

TEST(CheckReport, SurvivesItsWayBetweenRanks) {
  RankReport rank = good_report(1).ranks[0];
  rank.trouble = "\"quoted\"";
  rank.steady = false;
  rank.products = 125e9;  // whole in its unit, so that nothing is rounded on the way
  rank.memory = 16e9;
  EXPECT_EQ(json_of(rank_report_of(json_of(rank))), json_of(rank));
}

TEST(CheckLinks, EveryPairMeetsOnceAndNobodyIsInTwoAtATime) {
  for (int ranks = 1; ranks <= 17; ++ranks) {
    std::set<std::pair<int, int>> met;
    size_t most = 0;
    for (const auto& round : pair_rounds(ranks)) {
      std::set<int> busy;
      for (const auto& [a, b] : round) {
        EXPECT_LT(a, b);
        EXPECT_TRUE(busy.insert(a).second && busy.insert(b).second) << ranks;
        EXPECT_TRUE(met.insert({a, b}).second) << ranks;
      }
      most = std::max(most, round.size());
    }
    EXPECT_EQ(met.size(), static_cast<size_t>(ranks * (ranks - 1) / 2)) << ranks;
    EXPECT_EQ(most, static_cast<size_t>(ranks > kRanksOneByOne ? ranks / 2 : ranks > 1)) << ranks;
  }
}

/// A device that turns a bit of its products, from the start or once it has been in use.
class BadBackend : public ForwardingBackend {
 public:
  BadBackend(Backend& backend, bool from_the_start)
      : ForwardingBackend(backend), bad_(from_the_start) {}
  void matmul(const Matmul& op) override {
    ForwardingBackend::matmul(op);
    if (bad_) static_cast<uint8_t*>(op.y.data)[17] ^= 1;
  }
  void add(View from, View to) override {  // comes after the first round's products
    ForwardingBackend::add(from, to);
    bad_ = true;
  }

 private:
  bool bad_;
};

class CheckStress : public testing::Test {
 protected:
  static RankReport of(Backend& backend) {
    RankReport report;
    stress(backend, {64, 96, 64}, 0, report);
    return report;
  }
  Machine machine_{fp32_on(1)};
};

TEST_F(CheckStress, AGoodDeviceGivesTheSameBitsAgain) {
  const RankReport a = of(*machine_.backend), b = of(*machine_.backend);
  EXPECT_TRUE(a.steady);
  EXPECT_EQ(a.product_bits, b.product_bits);
  EXPECT_EQ(a.sum_bits, b.sum_bits);
  EXPECT_GT(a.products, 0);
  EXPECT_GT(a.memory, 0);
}

TEST_F(CheckStress, ADeviceThatAlwaysErrsHasOtherBitsAndOneThatSometimesDoesIsNotSteady) {
  const RankReport good = of(*machine_.backend);
  BadBackend always(*machine_.backend, true), later(*machine_.backend, false);
  const RankReport wrong = of(always);
  EXPECT_TRUE(wrong.steady);
  EXPECT_NE(wrong.product_bits, good.product_bits);
  EXPECT_FALSE(of(later).steady);
}

TEST(CheckSteps, OneRankAloneIsItself) {
  Machine machine(fp32_on(1));
  RunConfig config;
  config.model.d_model = 32;
  config.model.heads = 2;
  config.model.context = 16;
  config.schedule.batch_tokens = 256;
  config.schedule.steps = 5;
  CheckReport report;
  compare_steps(config, *machine.backend, *make_self(), nullptr, report);
  EXPECT_EQ(report.together, report.alone);
  EXPECT_EQ(report.alone.size(), 16u);
}

}  // namespace
}  // namespace isoflop
