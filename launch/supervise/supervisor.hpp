// Supervisor: starts the ranks of a run, watches them, and starts them again from the last
// committed checkpoint when some of them die or hang, on the hosts that are left.
//
//   attempt: mpirun, srun or our own starter as a child (child.hpp) | lines into logs
//   (rank_logs.hpp) | beats of the ranks (beat_server.hpp) into the judgement (watch.hpp)
//
//   between attempts: restart.hpp decides; hosts are asked whether they can take part
//
// What happened is told on standard error, in RUN/logs/launch.log, and as JSON lines in
// RUN/logs/launch.jsonl.
#pragma once
#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/supervise/beat_server.hpp"
#include "launch/supervise/child.hpp"
#include "launch/supervise/rank_logs.hpp"
#include "launch/supervise/restart.hpp"
#include "launch/supervise/watch.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

struct LaunchPlan {
  RankPlaces placement;                   // all hosts, spares included
  fs::path run;                           // the run folder
  std::string program;                    // absolute path
  std::vector<std::string> words;         // of the first start, after the program
  std::vector<std::string> resume_words;  // of later ones, once the run has begun
  int spares = 0, min_hosts = 1, max_restarts = 3;
  double patience = 60;  // seconds; watch.hpp
  double grace = 120;    // seconds from a request to stop until force
  bool once = false;     // nothing to go on with: one start, however it ends
};

/// The line of the first start with everything known before it; for --dry-run.
CommandLine first_line(const LaunchPlan& plan);

class Supervisor {
 public:
  Supervisor(LaunchPlan plan, const Context& context);
  /// Until the run is done, stopped, refused, or cannot go on. The exit code to end with.
  ExitCode run();

 private:
  struct Attempt {
    Ending ending;
    std::string reason;   // what went wrong
    std::string culprit;  // host; empty when not known
    int64_t step = 0;     // reached
  };
  Attempt start(const std::vector<std::string>& words, int ranks);
  /// Looks after the child until it has ended.
  void look_after(Child& child, Watch& watch, RankLogs& logs, Attempt& attempt);
  void ask_to_stop(double now);
  void report_slow(const Watch& watch);
  /// The name by which the rank's host was given to us; its own name may be another one.
  std::string host_to_blame(const Watch& watch, int rank) const;
  void account(const Watch& watch, double now);
  void summarize(const Attempt& attempt, const Watch& watch, const RankLogs& logs, int code);

  /// Asks all hosts; drops those that cannot take part. Their names with reasons.
  std::vector<std::string> probe_hosts(bool first);
  void give_up(const std::string& why);
  std::string supervisor_address() const;
  /// Where the ranks meet: an address of the first host that the others reach, and a port.
  std::pair<std::string, int> meeting_place() const;
  std::vector<std::pair<std::string, std::string>> exports() const;
  void say(const std::string& text);
  void record(const std::string& event, nlohmann::ordered_json json);
  int64_t saved_step() const;  // of the newest checkpoint; -1 without one

  LaunchPlan plan_;
  const Context& context_;
  HostPool hosts_;
  RestartBudget budget_;
  std::string key_;
  BeatServer server_;
  std::map<std::string, Hello> answers_;   // of the hosts, when they were asked last
  std::string our_address_ = "127.0.0.1";  // at which other hosts reach us
  int attempt_ = 0;                        // number of the folder of logs
  int restarts_ = 0;                       // of this launch
  double began_;
  std::set<int> slow_;  // said to be slow
  double stop_deadline_ = 0;
  // Time lost: from when the step that failed had begun until it is begun again.
  double step_since_ = 0, lost_since_ = 0;
  int64_t step_ = -1, lost_step_ = -1;
};

}  // namespace isoflop
