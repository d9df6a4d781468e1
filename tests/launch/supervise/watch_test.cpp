// Who died, who hangs, who is slow: with a clock of the test's own.
#include "launch/supervise/watch.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

constexpr double kPatience = 60;

Beat stepping(int64_t step, double seconds_in_phase) {
  Beat beat;
  beat.phase = "step";
  beat.phase_seconds = seconds_in_phase;
  beat.step = step;
  beat.messages = static_cast<uint64_t>(10 * step);
  beat.last_message = "exchange";
  return beat;
}

class WatchTest : public testing::Test {
 protected:
  WatchTest() {
    for (int rank = 0; rank < 4; ++rank) {
      Hello hello;
      hello.rank = rank;
      hello.host = "n" + std::to_string(rank / 2);
      watch.hello(hello, 0);
    }
  }
  /// A step that took `seconds` has been finished, and another one is on.
  void finish_step(double seconds, double now) {
    for (int rank = 0; rank < 4; ++rank) {
      Beat beat = stepping(12, 0.1);
      beat.longest["step"] = seconds;
      watch.beat(rank, beat, now);
    }
  }
  Watch watch{4, kPatience, 0};
};

TEST_F(WatchTest, AllIsWellWhileBeatsArriveAndStepsGoOn) {
  finish_step(2, 100);
  EXPECT_FALSE(watch.judge(100));
  EXPECT_FALSE(watch.judge(129));
  EXPECT_EQ(watch.step(), 12);
}

TEST_F(WatchTest, ASilentRankIsNamedAfterHalfOfPatience) {
  finish_step(2, 100);
  for (const int rank : {0, 1, 3}) watch.beat(rank, stepping(12, 30), 130);
  const auto trouble = watch.judge(130.5);
  ASSERT_TRUE(trouble);
  EXPECT_EQ(trouble->kind, Trouble::Kind::silent);
  EXPECT_EQ(trouble->ranks, std::vector<int>{2});
  for (const char* part : {"rank 2 on n1", "step 12", "phase step", "message 120: exchange"})
    EXPECT_NE(trouble->text.find(part), std::string::npos) << trouble->text;
}

TEST_F(WatchTest, OfThoseThatDieTheFirstIsNamed) {
  watch.gone(3, 7.0);
  for (const int rank : {0, 1, 2}) watch.gone(rank, 7.5);
  EXPECT_EQ(watch.judge(8)->kind, Trouble::Kind::died);
  EXPECT_EQ(watch.judge(8)->ranks, std::vector<int>{3});
}

TEST_F(WatchTest, WhoHasSaidThatItEndsIsNotMissed) {
  for (int rank = 0; rank < 4; ++rank) {
    watch.end(rank, End{75, ""});
    watch.gone(rank, 7);
  }
  EXPECT_FALSE(watch.judge(500));
  EXPECT_TRUE(watch.all_ended());
}

TEST_F(WatchTest, TheOneThatDoesNotWaitIsStuck) {
  finish_step(2, 100);
  for (int rank = 0; rank < 4; ++rank) {
    Beat beat = stepping(13, 61);
    beat.wait_seconds = rank == 1 ? 0 : 60;
    watch.beat(rank, beat, 161);
  }
  const auto trouble = watch.judge(161);
  ASSERT_TRUE(trouble);
  EXPECT_EQ(trouble->kind, Trouble::Kind::stuck);
  EXPECT_EQ(trouble->ranks, std::vector<int>{1});
}

TEST_F(WatchTest, WhenAllWaitTheOneBehindIsStuck) {
  finish_step(2, 100);
  for (int rank = 0; rank < 4; ++rank) {
    Beat beat = stepping(13, 61);
    beat.wait_seconds = 60;
    if (rank == 3) --beat.messages;
    watch.beat(rank, beat, 161);
  }
  EXPECT_EQ(watch.judge(161)->ranks, std::vector<int>{3});
}

TEST_F(WatchTest, BudgetsFollowWhatWasMeasured) {
  EXPECT_EQ(watch.budget("step"), 10 * kPatience);  // the first one
  finish_step(2, 100);
  EXPECT_EQ(watch.budget("step"), kPatience);
  finish_step(20, 100);
  EXPECT_EQ(watch.budget("step"), 120);
  EXPECT_EQ(watch.budget("save"), 10 * kPatience);
  EXPECT_FALSE(watch.budget("data"));  // may take hours
  for (int i = 0; i < 1000; ++i) finish_step(1, 100);
  EXPECT_EQ(watch.budget("step"), kPatience) << "a long step is not forgotten";
}

TEST_F(WatchTest, ARankThatNeverStartsIsNamed) {
  Watch fresh(2, kPatience, 1000);
  Hello hello;
  hello.rank = 0;
  fresh.hello(hello, 1001);
  Beat beat;
  fresh.beat(0, beat, 1600);
  EXPECT_FALSE(fresh.judge(1600));
  fresh.beat(0, beat, 1601);
  ASSERT_TRUE(fresh.judge(1601));
  EXPECT_EQ(fresh.judge(1601)->ranks, std::vector<int>{1});
}

TEST_F(WatchTest, SlowRanksStandOut) {
  const auto work = [&](const std::vector<double>& seconds) {
    Watch fresh(static_cast<int>(seconds.size()), kPatience, 0);
    for (int step = 0; step < 8; ++step)
      for (int rank = 0; rank < static_cast<int>(seconds.size()); ++rank) {
        Beat beat = stepping(step, 0);
        beat.steps = 1;
        beat.work_seconds = seconds[static_cast<size_t>(rank)];
        fresh.beat(rank, beat, step);
      }
    std::vector<int> slow;
    for (const SlowRank& one : fresh.slow()) slow.push_back(one.rank);
    return slow;
  };
  EXPECT_EQ(work({1.0, 1.02, 1.5, 0.99}), std::vector<int>{2});
  EXPECT_EQ(work({1.0, 1.4}), std::vector<int>{1});
  EXPECT_TRUE(work({1.0, 1.1, 1.15, 0.95}).empty());
  EXPECT_TRUE(work({1.0}).empty());
}

TEST(Beats, SurviveTheWireAndRefuseNonsense) {
  PulseReading reading;
  reading.phase = Phase::save;
  reading.step = 7;
  reading.messages = 99;
  reading.longest[static_cast<size_t>(Phase::step)] = 1.5;
  const RankLine line = parse_rank_line(line_of(reading));
  ASSERT_TRUE(line.beat);
  EXPECT_EQ(line.beat->phase, "save");
  EXPECT_EQ(line.beat->messages, 99u);
  EXPECT_EQ(line.beat->longest, (std::map<std::string, double>{{"step", 1.5}}));
  EXPECT_EQ(parse_rank_line(line_of(End{75, "\xff bytes"})).end->code, 75);
  for (const char* bad : {"", "{", "[]", "7", "{\"beat\": 3, \"step\": \"x\", \"longest\": [1]}"}) {
    const RankLine parsed = parse_rank_line(bad);
    EXPECT_FALSE(parsed.hello || parsed.end) << bad;
    if (parsed.beat) {
      EXPECT_EQ(parsed.beat->step, 0);
    }
  }
}

TEST(Beats, TheAddressSurvivesTheEnvironment) {
  const SupervisorAddress address{"key", 3, 4.5, 1234, {"10.0.0.1", "127.0.0.1"}};
  const SupervisorAddress parsed = SupervisorAddress::parse(address.text());
  EXPECT_EQ(parsed.text(), address.text());
  EXPECT_THROW(SupervisorAddress::parse("nonsense"), UserError);
}

}  // namespace
}  // namespace isoflop
