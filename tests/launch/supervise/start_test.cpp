// Hosts, command lines, logs, and when to start again.
#include "core/error.hpp"
#include "launch/run_lock.hpp"
#include "launch/supervise/child.hpp"
#include "launch/supervise/rank_logs.hpp"
#include "launch/supervise/restart.hpp"
#include "launch/supervise/sockets.hpp"
#include "tests/support/program.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <thread>

namespace isoflop {
namespace {

TEST(Hosts, FromTheCommandLine) {
  EXPECT_EQ(parse_hosts("a:8,b,c.d-e:2"), (std::vector<Host>{{"a", 8}, {"b", 1}, {"c.d-e", 2}}));
  const std::vector<Host> hosts = parse_hosts("a:2,b");
  EXPECT_EQ(host_of(hosts, 1).name, "a");
  EXPECT_EQ(host_of(hosts, 2).name, "b");
  EXPECT_EQ(host_of(hosts, 3).name, "b");
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
  places.hosts = {{"a", 2}, {"b", 2}};
  places.remote_shell = "ssh -p 22";
  EXPECT_EQ(start_line(places, {"/x/isoflop", "train"}, {{"KEY", "1"}}).text(),
            "KEY=1 /x/isoflop launch --start-here 4 --hosts a:2,b:2 --rsh 'ssh -p 22' -x KEY -- "
            "/x/isoflop train");
}

TEST(CommandLines, OnAHost) {
  RankPlaces places;
  const std::vector<std::string> words = {"isoflop", "a b"};
  EXPECT_EQ(words_on(places, "localhost", words), words);
  EXPECT_EQ(words_on(places, "n1", words),
            (std::vector<std::string>{"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "n1",
                                      "isoflop 'a b'"}));
  places.remote_shell = "/x/rsh -v";
  for (const char* host : {"localhost", "n1"})
    EXPECT_EQ(words_on(places, host, words),
              (std::vector<std::string>{"/x/rsh", "-v", host, "isoflop 'a b'"}));
}

TEST(Sockets, AddressesByNetworkOrInterface) {
  EXPECT_EQ(own_address_in("127.0.0.0/8"), "127.0.0.1");
  EXPECT_EQ(own_address_in("lo"), "127.0.0.1");
  for (const char* none : {"203.0.113.0/24", "127.0.0.0/33", "127.0.0.0/8x", "127.0.0/8", "/8", ""})
    EXPECT_THROW(own_address_in(none), IoError) << none;
}

TEST(Child, ReadsItsInputAndThenWaitsForItsEnd) {
  std::optional<Child> child(std::in_place, CommandLine{{}, {"cat"}}, "a\nb");
  std::string said;
  for (int i = 0; i < 1000 && said.size() < 3; ++i) {
    said += child->take_out();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(said, "a\nb");
  EXPECT_FALSE(child->ended()) << "its input has ended";
  EXPECT_THROW(Child(CommandLine{{}, {"cat"}}, std::string(1 << 20, 'x')), IoError);
}

TEST(CommandLines, QuoteWhatAShellWouldTake) {
  EXPECT_EQ(shell_quoted("a-b=c/d"), "a-b=c/d");
  EXPECT_EQ(shell_quoted("it's $x"), "'it'\\''s $x'");
  EXPECT_EQ(shell_quoted(""), "''");
}

/// `isoflop launch --start-told` with this on standard input, which ends there.
test::ProgramResult told(const std::string& order) {
  return test::run_program("launch --start-told", ".", order + "\n");
}

TEST(SelfStarter, DoesAsTold) {
  Child child(CommandLine{{}, {ISOFLOP_PROGRAM, "launch", "--start-told"}},
              R"({"first": 2, "count": 2, "ranks": 5, "folder": "/", "environment": {"A": "b c"},)"
              R"("program": ["sh", "-c",)"
              R"("echo $RANK $WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE $A $PWD; exit 7"]})"
              "\n");
  std::string said;
  for (int i = 0; i < 3000 && !child.ended(); ++i) {
    said += child.take_out();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  said += child.take_out();
  EXPECT_EQ(child.ended(), 7) << child.take_err();
  for (const char* line : {"[1,2]<stdout>:2 5 0 2 b c /\n", "[1,3]<stdout>:3 5 1 2 b c /\n"})
    EXPECT_NE(said.find(line), std::string::npos) << said;
}

TEST(SelfStarter, RanksEndWithItsInput) {
  const auto began = std::chrono::steady_clock::now();
  const test::ProgramResult result =
      told(R"({"first": 0, "count": 2, "ranks": 2, "folder": "/", "environment": {},)"
           R"("program": ["sleep", "60"]})");
  EXPECT_EQ(result.code, 5) << result.err;
  EXPECT_NE(result.err.find("is gone"), std::string::npos) << result.err;
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

TEST(SelfStarter, RefusesWhatIsNoOrder) {
  const char* const half =
      R"({"first": 0, "count": 1, "ranks": 1, "folder": "/", "environment": {}, "program": "ls"})";
  for (const char* bad : {"", "[]", "{}", "{\"first\": 0", half}) {
    const test::ProgramResult result = told(bad);
    EXPECT_EQ(result.code, 2) << bad;
    EXPECT_NE(result.err.find("does not say which ranks"), std::string::npos) << result.err;
  }
  const test::ProgramResult result =
      told(R"({"first": 0, "count": 1, "ranks": 1, "folder": "/none such", "environment": {},)"
           R"("program": ["ls"]})");
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("cannot enter /none such"), std::string::npos) << result.err;
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
  EXPECT_TRUE(pool.uses("a"));
  EXPECT_FALSE(pool.uses("c"));
  EXPECT_EQ(pool.drop("a"), "c");
  EXPECT_FALSE(pool.uses("a"));
  EXPECT_TRUE(pool.uses("c"));
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
