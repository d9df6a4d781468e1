// Hosts, command lines, logs, and when to start again.
#include "core/error.hpp"
#include "launch/run_lock.hpp"
#include "launch/supervise/command_lines.hpp"
#include "launch/supervise/rank_logs.hpp"
#include "launch/supervise/restart.hpp"
#include "tests/support/program.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

TEST(Hosts, FromTheCommandLine) {
  EXPECT_EQ(parse_hosts("a:8,b,c.d-e:2"), (std::vector<Host>{{"a", 8}, {"b", 1}, {"c.d-e", 2}}));
  for (const char* bad : {"", ",", "-oProxyCommand=x:1", "a:0", "a:x", "a:5000", "a b", "$(x):1"})
    EXPECT_THROW(parse_hosts(bad), UserError) << bad;
}

TEST(Hosts, FromDeepSpeedsAndOpenMpisFiles) {
  const test::TempDir folder;
  const auto read = [&](const std::string& text) {
    std::ofstream(folder.path() / "hosts") << text;
    return read_hostfile(folder.path() / "hosts");
  };
  EXPECT_EQ(read("# two\n\nworker-1 slots=4\n  worker-2   slots=2 max_slots=4 # small\nw3\nw3:2\n"),
            (std::vector<Host>{{"worker-1", 4}, {"worker-2", 2}, {"w3", 3}}));
  try {
    read("a slots=2\nb slot=3\n");
    FAIL();
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("line 2"), std::string::npos) << error.what();
  }
  EXPECT_THROW(read("# nobody\n"), UserError);
  EXPECT_THROW(read_hostfile(folder.path() / "absent"), UserError);
}

TEST(CommandLines, Mpirun) {
  RankPlaces places;
  places.ranks = 16;
  places.hosts = {{"a", 8}, {"b", 8}};
  places.network = "10.0.0.0/8";
  places.root = true;
  const std::string text =
      start_line(places, {"/x/isoflop", "train", "a b.toml"}, {{"KEY", "1 2"}}).text();
  for (const char* part : {"OMPI_ALLOW_RUN_AS_ROOT=1", "KEY='1 2' mpirun", "-n 16 --host a:8,b:8",
                           "--bind-to none", "oob_tcp_keepalive_time 10",
                           "btl_tcp_if_include 10.0.0.0/8", "-x KEY /x/isoflop train 'a b.toml'"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
  EXPECT_EQ(text.find("--oversubscribe"), std::string::npos);
  EXPECT_EQ(text.find("-x KEY="), std::string::npos) << "secrets are not for ps";
}

TEST(CommandLines, Srun) {
  RankPlaces places;
  places.starter = RankPlaces::Starter::srun;
  places.ranks = 4;
  const std::string text = start_line(places, {"isoflop", "train"}, {{"KEY", "1"}}).text();
  EXPECT_EQ(text, "KEY=1 srun --mpi=pmix --label --kill-on-bad-exit=1 --ntasks=4 isoflop train");
}

TEST(CommandLines, OurOwn) {
  RankPlaces places;
  places.starter = RankPlaces::Starter::self;
  places.ranks = 4;
  const std::string text = start_line(places, {"/x/isoflop", "train"}, {{"KEY", "1"}}).text();
  EXPECT_EQ(text, "KEY=1 /x/isoflop launch --start-here 4 -- /x/isoflop train");
}

TEST(CommandLines, QuoteWhatAShellWouldTake) {
  EXPECT_EQ(shell_quoted("a-b=c/d"), "a-b=c/d");
  EXPECT_EQ(shell_quoted("it's $x"), "'it'\\''s $x'");
  EXPECT_EQ(shell_quoted(""), "''");
}

TEST(RankLogs, CutTheStreamByRank) {
  EXPECT_EQ(split_tag("[1,12]<stderr>:text"), (std::pair<int, std::string_view>(12, "text")));
  EXPECT_EQ(split_tag(" 3: text"), (std::pair<int, std::string_view>(3, "text")));
  for (const char* plain : {"[1,x]<stdout>:a", "mpirun: error", "", "[1,2]", "-1: x"})
    EXPECT_EQ(split_tag(plain).first, RankLogs::kStarter) << plain;

  const test::TempDir folder;
  std::string heard;
  RankLogs logs(folder.path() / "logs", [&](bool error, const std::string& line) {
    heard += (error ? "!" : "") + line + ";";
  });
  logs.feed(false, "[1,0]<stdout>:fi");
  logs.feed(true, "[1,0]<stderr>:note\n[1,1]<stderr>:other\n");
  logs.feed(false, "rst\nplain");
  logs.finish();
  EXPECT_EQ(heard, "!note;first;");
  EXPECT_EQ(test::slurp(folder.path() / "logs" / "rank-0001.log"), "other\n");
  EXPECT_EQ(test::slurp(folder.path() / "logs" / "starter.log"), "plain\n");
  EXPECT_EQ(logs.tail(0), "    note\n    first\n");
}

TEST(RankLogs, ALineInPiecesIsOneLine) {
  EXPECT_EQ(find_tag("{\"a\": [1,2], [1,0]<stdout>:"), 13u);
  EXPECT_EQ(find_tag("[1,0]<std [1,x]<stdout>:"), std::string_view::npos);

  const test::TempDir folder;
  std::string heard;
  RankLogs logs(folder.path() / "logs",
                [&](bool, const std::string& line) { heard += line + ";"; });
  logs.feed(false, "[1,0]<stdout>:{\"a\": [1,[1,1]<stdout>:mine[1,0]<stdout>:2]}\n");
  logs.feed(false, "[1,1]<stdout>: too\n[1,0]<stdout>:no end[1,1]<stdout>:\n");
  EXPECT_EQ(heard, "{\"a\": [1,2]};");
  logs.finish();
  EXPECT_EQ(heard, "{\"a\": [1,2]};no end;");
  EXPECT_EQ(test::slurp(folder.path() / "logs" / "rank-0001.log"), "mine too\n\n");
}

TEST(Restart, JudgesHowAnAttemptEnded) {
  EXPECT_EQ(judge_ending(0, {0, 0}, true).outcome, Outcome::done);
  EXPECT_EQ(judge_ending(75, {75, 75}, true).outcome, Outcome::stopped);
  EXPECT_EQ(judge_ending(137, {}, true).outcome, Outcome::failed);
  EXPECT_EQ(judge_ending(205, {5}, true).outcome, Outcome::failed);
  // What one rank says counts for more than what mpirun makes of it.
  EXPECT_EQ(judge_ending(1, {5, 2}, true).outcome, Outcome::refused);
  EXPECT_EQ(judge_ending(1, {5, 2}, true).code, 2);
  EXPECT_EQ(judge_ending(4, {}, true).code, 4);
  EXPECT_EQ(judge_ending(1, {}, false).outcome, Outcome::refused) << "nobody was ever started";
}

TEST(Restart, ProgressRenewsTheBudget) {
  RestartBudget budget(3);
  EXPECT_EQ(budget.after_failure(false), 1);
  EXPECT_EQ(budget.after_failure(false), 2);
  EXPECT_EQ(budget.after_failure(true), 1);
  EXPECT_EQ(budget.after_failure(false), 2);
  EXPECT_EQ(budget.after_failure(false), 4);
  EXPECT_FALSE(budget.after_failure(false));
  RestartBudget long_one(100);
  for (int i = 0; i < 50; ++i) EXPECT_LE(*long_one.after_failure(false), 60);
}

TEST(Restart, SparesComeInBeforeTheRunShrinks) {
  HostPool pool({{"a", 2}, {"b", 2}, {"c", 2}}, 1);
  EXPECT_EQ(hosts_text(pool.active()), "a:2,b:2");
  EXPECT_EQ(pool.drop("a"), "c");
  EXPECT_EQ(hosts_text(pool.active()), "c:2,b:2");
  EXPECT_EQ(pool.drop("b"), "");
  EXPECT_EQ(hosts_text(pool.active()), "c:2");
  EXPECT_FALSE(pool.blame("c", false));
  EXPECT_FALSE(pool.blame("c", true)) << "progress since then";
  EXPECT_TRUE(pool.blame("c", false));
}

TEST(RunLock, OneAtATimeAndNeverStale) {
  const test::TempDir folder;
  std::ofstream(folder.path() / "lock") << "process 1 on elsewhere\n";  // left by one that died
  {
    const RunLock mine(folder.path());
    try {
      const RunLock second(folder.path());
      FAIL();
    } catch (const UserError& error) {
      const std::string me = "process " + std::to_string(::getpid());
      EXPECT_NE(std::string(error.what()).find(me), std::string::npos) << error.what();
    }
  }
  const RunLock again(folder.path());
}

}  // namespace
}  // namespace isoflop
