#include "launch/supervise/supervisor.hpp"

#include "core/hash.hpp"
#include "launch/signals.hpp"
#include "launch/supervise/sockets.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <random>
#include <thread>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;
constexpr double kProbeSeconds = 15;  // for a remote shell to log in, start the program and answer
constexpr double kDeathSeconds = 5;   // that mpirun takes at most to notice a dead rank itself

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string random_key() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

int last_attempt(const fs::path& logs) {
  int last = 0;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(logs, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("attempt-", 0) == 0) last = std::max(last, std::atoi(name.c_str() + 8));
  }
  return last;
}

std::string meaning_of(int code) {
  if (code == 124) return "124 (too slow)";
  if (code > 128 && code < 128 + 32)
    return fmt::format("{} (killed by signal {})", code, code - 128);
  return std::to_string(code);
}

}  // namespace

Supervisor::Supervisor(LaunchPlan plan, const Context& context)
    : plan_(std::move(plan)),
      context_(context),
      hosts_(plan_.placement.hosts, plan_.spares),
      budget_(plan_.max_restarts),
      key_(random_key()),
      server_(key_,
              plan_.placement.remote() || plan_.placement.starter == RankPlaces::Starter::srun),
      began_(seconds_now()) {}

CommandLine first_line(const LaunchPlan& plan) {
  RankPlaces placement = plan.placement;
  placement.hosts = HostPool(placement.hosts, plan.spares).active();
  std::vector<std::string> program = {plan.program};
  program.insert(program.end(), plan.words.begin(), plan.words.end());
  return start_line(placement, program, {{kSupervisorVariable, "KEY-AND-ADDRESS-OF-THE-LAUNCH"}});
}

std::string Supervisor::supervisor_address() const {
  SupervisorAddress address{.key = key_,
                            .attempt = attempt_,
                            .patience = plan_.patience,
                            .port = server_.port(),
                            .addresses = {}};
  if (plan_.placement.remote() || plan_.placement.starter == RankPlaces::Starter::srun)
    address.addresses = own_addresses();
  address.addresses.push_back("127.0.0.1");
  return address.text();
}

std::pair<std::string, int> Supervisor::meeting_place() const {
  if (plan_.placement.remote()) {
    const Hello& first = answers_.at(hosts_.active().front().name);
    // Where our own host reaches us, others may not.
    const bool here = plan_.placement.network.empty() && is_this_machine(first.address);
    return {here ? our_address_ : first.address, first.port};
  }
  const bool here = plan_.placement.starter != RankPlaces::Starter::srun;
  return {here ? "127.0.0.1" : own_host_name(), free_port()};
}

std::vector<std::pair<std::string, std::string>> Supervisor::exports() const {
  const auto [address, port] = meeting_place();
  return {{kSupervisorVariable, supervisor_address()},
          {"MASTER_ADDR", address},
          {"MASTER_PORT", std::to_string(port)},
          {"TORCHELASTIC_RESTART_COUNT", std::to_string(restarts_)},
          {"TORCHELASTIC_MAX_RESTARTS", std::to_string(plan_.max_restarts)},
          {"TORCHELASTIC_RUN_ID", key_.substr(0, 8)}};
}

void Supervisor::say(const std::string& text) {
  context_.note("launch: {}", text);
  const std::time_t now = std::time(nullptr);
  char stamp[32] = {};
  std::tm parts = {};
  std::strftime(stamp, sizeof(stamp), "%F %T", ::localtime_r(&now, &parts));
  std::ofstream(plan_.run / "logs" / "launch.log", std::ios::app) << stamp << "  " << text << "\n";
}

void Supervisor::record(const std::string& event, Json json) {
  Json line = {{"seconds", seconds_now() - began_}, {"event", event}, {"attempt", attempt_}};
  line.update(json);
  std::ofstream(plan_.run / "logs" / "launch.jsonl", std::ios::app)
      << line.dump(-1, ' ', true, Json::error_handler_t::replace) << "\n";
}

int64_t Supervisor::saved_step() const {
  for (const CheckpointEntry& entry : list_checkpoints(plan_.run))
    if (entry.manifest) return entry.step;
  return -1;
}

std::vector<std::string> Supervisor::probe_hosts(bool first) {
  std::vector<Host> asked = hosts_.active();
  asked.insert(asked.end(), hosts_.spares().begin(), hosts_.spares().end());
  answers_.clear();
  server_.expect(attempt_, {.probe = [&](const Hello& hello, const std::string& here) {
                   if (hello.probe >= std::ssize(asked)) return;
                   answers_[asked[static_cast<size_t>(hello.probe)].name] = hello;
                   if (hello.address != here) our_address_ = here;  // from elsewhere
                 }});
  std::vector<CommandLine> lines;
  for (size_t i = 0; i < asked.size(); ++i) {
    std::vector<std::string> probe = {
        "env",         std::string(kSupervisorVariable) + "=" + supervisor_address(),
        plan_.program, "launch",
        "--probe",     std::to_string(i)};
    // MPI looks for its networks itself, and knows more ways to write them.
    if (plan_.placement.starter == RankPlaces::Starter::self && !plan_.placement.network.empty())
      probe.insert(probe.end(), {"--network", plan_.placement.network});
    lines.push_back({{}, words_on(plan_.placement, asked[i].name, probe)});
  }
  const std::vector<CommandResult> results =
      run_all(lines, kProbeSeconds, [&] { server_.serve(); });
  server_.expect(attempt_, {});
  const MappedFile program(plan_.program);
  const std::string hash = hash_hex(hash_bytes(program.data(), program.size()));
  std::vector<std::string> missing;
  for (size_t i = 0; i < asked.size(); ++i) {
    std::string reason;
    const auto answer = answers_.find(asked[i].name);
    if (answer == answers_.end()) {
      std::string said = results[i].said.substr(0, 300);
      while (!said.empty() && said.back() == '\n') said.pop_back();
      reason = fmt::format("does not answer (exit code {}{}{})", meaning_of(results[i].code),
                           said.empty() ? "" : ": ", said);
    } else if (answer->second.program != hash) {
      reason = fmt::format("has another program at {} ({}, here {})", plan_.program,
                           answer->second.program, hash);
    } else {
      continue;
    }
    missing.push_back(asked[i].name + " " + reason);
    if (first) continue;
    const std::string in = hosts_.drop(asked[i].name);
    say(fmt::format("host {} {}; {}", asked[i].name, reason,
                    in.empty() ? "going on without it" : "spare host " + in + " takes its place"));
    record("host dropped", {{"host", asked[i].name}, {"instead", in}});
  }
  return missing;
}

ExitCode Supervisor::run() {
  install_stop_signals();
  const fs::path logs = plan_.run / "logs";
  require_writable_directory(logs);
  attempt_ = last_attempt(logs);
  if (plan_.placement.remote()) {
    const std::vector<std::string> missing = probe_hosts(true);
    std::string text;
    for (const std::string& one : missing) text += "\n  " + one;
    if (!missing.empty()) fail_user("{} of the hosts cannot take part:{}", missing.size(), text);
  }
  std::vector<std::string> words = plan_.words;
  while (true) {
    const int64_t saved_before = saved_step();
    const int ranks = plan_.placement.remote()
                          ? std::min(plan_.placement.ranks, slots_of(hosts_.active()))
                          : plan_.placement.ranks;
    const double start_time = seconds_now();
    const Attempt attempt = start(words, ranks);
    const auto code = static_cast<ExitCode>(attempt.ending.code);
    if (attempt.ending.outcome == Outcome::done || attempt.ending.outcome == Outcome::refused)
      return code;
    if (const std::optional<ExitCode> asked = stop_requested()) {
      if (plan_.once) return *asked;
      const int64_t saved = saved_step();
      say(saved < 0 ? std::string("stopped before anything was saved")
                    : fmt::format("stopped; the newest checkpoint is of step {}", saved));
      return *asked;
    }
    if (attempt.ending.outcome == Outcome::stopped || plan_.once) return code;

    const bool progress = saved_step() > saved_before;
    const bool again = !attempt.culprit.empty() && hosts_.blame(attempt.culprit, progress);
    const std::optional<double> pause = budget_.after_failure(progress);
    if (!pause) {
      give_up(fmt::format("{} failures in a row without a new checkpoint (--max-restarts {})",
                          budget_.failures(), budget_.most()));
      return ExitCode::kIo;
    }
    if (plan_.placement.remote()) {
      probe_hosts(false);
      const auto enough = static_cast<size_t>(plan_.min_hosts);
      const bool spare = !hosts_.spares().empty();
      // One that no longer answers was dropped and named already.
      if (again && hosts_.uses(attempt.culprit) && (spare || hosts_.active().size() > enough)) {
        const std::string in = hosts_.drop(attempt.culprit);
        say(fmt::format(
            "host {} failed twice in a row: {}", attempt.culprit,
            in.empty() ? "going on without it" : "spare host " + in + " takes its place"));
        record("host dropped", {{"host", attempt.culprit}, {"instead", in}});
      }
      if (hosts_.active().size() < enough || hosts_.active().empty()) {
        give_up(fmt::format("{} hosts are left, and --min-nodes is {}", hosts_.active().size(),
                            plan_.min_hosts));
        return ExitCode::kIo;
      }
    }
    if (fs::exists(plan_.run / "config.toml")) words = plan_.resume_words;
    ++restarts_;
    const int64_t saved = saved_step();
    say(fmt::format(
        "starting again {} in {:.0f} s (failure {} of {} without a new checkpoint)",
        saved < 0 ? std::string("from the beginning") : fmt::format("from step {}", saved), *pause,
        budget_.failures(), budget_.most()));
    record("restart", {{"from", saved}, {"pause", *pause}, {"ran", seconds_now() - start_time}});
    for (const double end = seconds_now() + *pause; seconds_now() < end && !stop_requested();)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (const std::optional<ExitCode> asked = stop_requested()) return *asked;
  }
}

void Supervisor::give_up(const std::string& why) {
  say("giving up: " + why +
      fmt::format("; go on with: isoflop launch ... --resume auto --out {}", plan_.run.string()));
  record("given up", {{"why", why}});
}

Supervisor::Attempt Supervisor::start(const std::vector<std::string>& words, int ranks) {
  ++attempt_;
  slow_.clear();
  RankPlaces placement = plan_.placement;
  placement.ranks = ranks;
  placement.hosts = hosts_.active();
  std::vector<std::string> program = {plan_.program};
  program.insert(program.end(), words.begin(), words.end());
  const CommandLine line = start_line(placement, program, exports());

  Watch watch(ranks, plan_.patience, seconds_now());
  Attempt attempt;
  server_.expect(
      attempt_, {.hello =
                     [&](const Hello& hello) {
                       watch.hello(hello, seconds_now());
                       if (stop_deadline_ > 0) server_.order("stop");
                     },
                 .beat = [&](int rank, const Beat& beat) { watch.beat(rank, beat, seconds_now()); },
                 .end = [&](int rank, const End& end) { watch.end(rank, end); },
                 .gone = [&](int rank) { watch.gone(rank, seconds_now()); }});
  RankLogs logs(plan_.run / "logs" / fmt::format("attempt-{:04}", attempt_),
                [&attempt](bool error, const std::string& text) {
                  if (!attempt.reason.empty()) return;  // stacks are for the log
                  if (!error)
                    write_stdout(text + "\n");
                  else
                    write_stderr(text + "\n");
                });
  say(fmt::format("attempt {}: {} rank{}{}, logs in {}", attempt_, ranks, ranks == 1 ? "" : "s",
                  placement.remote() ? " on " + hosts_text(placement.hosts) : std::string(),
                  logs.folder().string()));
  Json known = Json::array();
  for (const Host& host : placement.hosts) known.push_back(host.name);
  record("start",
         {{"ranks", ranks}, {"hosts", known}, {"command", CommandLine{{}, line.words}.text()}});

  const bool first = restarts_ == 0;
  {
    Child child(line);
    look_after(child, watch, logs, attempt);
    std::vector<int> codes;
    for (const RankView& rank : watch.ranks())
      if (rank.end) codes.push_back(rank.end->code);
    const int code = *child.ended();
    attempt.ending = judge_ending(code, codes, !first || !watch.nobody_met());
    attempt.step = watch.step();
    if (attempt.ending.outcome == Outcome::failed || attempt.ending.outcome == Outcome::refused)
      summarize(attempt, watch, logs, code);
    record("end", {{"code", code},
                   {"outcome", static_cast<int>(attempt.ending.outcome)},
                   {"reason", attempt.reason},
                   {"host", attempt.culprit},
                   {"step", attempt.step}});
  }
  // Ranks elsewhere end when their connection does; those that were cut off, by themselves.
  server_.hang_up();
  server_.expect(attempt_, {});
  return attempt;
}

void Supervisor::look_after(Child& child, Watch& watch, RankLogs& logs, Attempt& attempt) {
  const auto take = [&] {
    server_.serve();
    logs.feed(false, child.take_out());
    logs.feed(true, child.take_err());
  };
  const auto wait = [&](double seconds) {
    std::vector<pollfd> wanted = {{child.out(), POLLIN, 0}, {child.err(), POLLIN, 0}};
    server_.add_to(wanted);
    // A pipe whose writer is gone is always ready.
    if (::poll(wanted.data(), wanted.size(), static_cast<int>(seconds * 1000)) > 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    take();
  };
  const auto wait_for_end = [&](double seconds) {
    for (const double end = seconds_now() + seconds; !child.ended() && seconds_now() < end;)
      wait(0.05);
    return child.ended().has_value();
  };
  double slow_check = seconds_now() + 5, all_ended_since = 0;
  while (!child.ended()) {
    wait(0.1);
    const double now = seconds_now();
    account(watch, now);
    if (stop_requested() && stop_deadline_ == 0) ask_to_stop(now);
    if (stop_deadline_ > 0 && now > stop_deadline_ && !child.ended()) {
      say(fmt::format("not stopped within {:.0f} s; using force", plan_.grace));
      break;
    }
    if (watch.all_ended() && all_ended_since == 0) all_ended_since = now;
    if (all_ended_since > 0 && now - all_ended_since > plan_.patience) {
      say("all ranks are done, but what started them does not end; using force");
      break;
    }
    if (now > slow_check) {
      report_slow(watch);
      slow_check = now + 5;
    }
    const std::optional<Trouble> trouble = watch.judge(now);
    if (!trouble) continue;
    // A rank that is leaving anyway may be gone before it is reaped.
    if (trouble->kind == Trouble::Kind::died && wait_for_end(kDeathSeconds)) {
      attempt.reason = trouble->text;
      attempt.culprit = host_to_blame(watch, trouble->ranks.front());
      break;
    }
    attempt.reason = trouble->text;
    attempt.culprit = host_to_blame(watch, trouble->ranks.front());
    say(trouble->text);
    record("trouble", {{"text", trouble->text}, {"ranks", trouble->ranks}, {"step", watch.step()}});
    if (trouble->kind != Trouble::Kind::died) {
      server_.order("stacks");  // into the logs of those that can
      wait_for_end(2);
    }
    break;
  }
  if (!child.ended()) {
    child.signal_group(SIGTERM);
    if (!wait_for_end(3)) child.signal_group(SIGKILL);
    if (!wait_for_end(10)) fail_io("what started the ranks does not end even by SIGKILL");
  }
  for (int i = 0; i < 20 && server_.connected() > 0; ++i) wait(0.05);
  take();
  logs.finish();
  // Who is gone without a word died; of several, the first that was noticed.
  if (attempt.reason.empty())
    if (const std::optional<Trouble> trouble = watch.judge(seconds_now());
        trouble && trouble->kind == Trouble::Kind::died) {
      attempt.reason = trouble->text;
      attempt.culprit = host_to_blame(watch, trouble->ranks.front());
    }
}

std::string Supervisor::host_to_blame(const Watch& watch, int rank) const {
  return plan_.placement.remote() ? host_of(hosts_.active(), rank).name
                                  : watch.ranks()[static_cast<size_t>(rank)].host;
}

void Supervisor::ask_to_stop(double now) {
  stop_deadline_ = now + plan_.grace;
  say("asked to stop: the ranks finish their step and save");
  server_.order("stop");
}

void Supervisor::report_slow(const Watch& watch) {
  std::set<int> slow;
  for (const SlowRank& one : watch.slow()) {
    slow.insert(one.rank);
    if (slow_.count(one.rank)) continue;
    say(
        fmt::format("rank {} on {} is slow: {:.1f} ms of work a step, the others' median is {:.1f} "
                    "(z {:.1f})",
                    one.rank, watch.ranks()[static_cast<size_t>(one.rank)].host, one.seconds * 1e3,
                    one.median * 1e3, one.z));
    record("slow", {{"rank", one.rank}, {"seconds", one.seconds}, {"median", one.median}});
  }
  slow_ = slow;
}

void Supervisor::account(const Watch& watch, double now) {
  const int64_t step = watch.step();
  if (step != step_) {
    step_ = step;
    step_since_ = now;
  }
  if (lost_step_ < 0 || step < lost_step_) return;
  say(fmt::format("back at step {}: the failure cost {:.1f} s", lost_step_, now - lost_since_));
  record("recovered", {{"step", lost_step_}, {"lost", now - lost_since_}});
  lost_step_ = -1;
}

void Supervisor::summarize(const Attempt& attempt,
                           const Watch& watch,
                           const RankLogs& logs,
                           int code) {
  if (attempt.ending.outcome == Outcome::failed && lost_step_ < 0) {
    lost_step_ = watch.step();
    lost_since_ = step_since_ > 0 ? step_since_ : seconds_now();
  }
  // A rank's own complaint says more than what ended because of it.
  for (size_t i = 0; i < watch.ranks().size(); ++i) {
    const RankView& rank = watch.ranks()[i];
    if (!rank.end || rank.end->code == 0 || rank.end->text.empty()) continue;
    if (i > 0)  // the first one has been heard
      say(fmt::format("rank {} on {} ended with {}: {}", i, rank.host, rank.end->code,
                      rank.end->text));
    record("complaint", {{"rank", i}, {"host", rank.host}, {"code", rank.end->code}});
    return;
  }
  say(fmt::format("attempt {} ended with {}{}{}", attempt_, meaning_of(code),
                  attempt.reason.empty() ? "" : ": ", attempt.reason));
  int named = RankLogs::kStarter;
  for (size_t i = watch.ranks().size(); i-- > 0;)
    if (watch.ranks()[i].gone && !watch.ranks()[i].end) named = static_cast<int>(i);
  for (const int rank : {named, RankLogs::kStarter}) {
    const std::string tail = logs.tail(rank);
    if (tail.empty()) continue;
    context_.note("  the end of {}:\n{}", (logs.folder() / RankLogs::name_of(rank)).string(), tail);
    break;
  }
}

}  // namespace isoflop
