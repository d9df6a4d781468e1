#include "launch/supervise/command_lines.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <sstream>

namespace isoflop {

namespace {

using Words = std::vector<std::string>;

void add(Words& words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
}

CommandLine mpirun_line(const RankPlaces& placement) {
  CommandLine line;
  Words& words = line.words;
  // Every line comes back with its rank in front: one log per rank, kept by the supervisor.
  words = {"mpirun", "--tag-output", "-n", std::to_string(placement.ranks)};
  if (placement.remote()) add(words, {"--host", hosts_text(placement.hosts)});
  if (placement.oversubscribed) words.push_back("--oversubscribe");
  // The ranks of a host share its cores by their numbers of threads; bound, two programs on one
  // host would sit on the same cores. A rank that waits gives way to one that computes.
  add(words, {"--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"});
  if (placement.remote()) {
    // Without these a host that vanishes is noticed after eight minutes.
    add(words, {"--mca", "oob_tcp_keepalive_time", "10", "--mca", "oob_tcp_keepalive_intvl", "5",
                "--mca", "oob_tcp_keepalive_probes", "3"});
    if (!placement.remote_shell.empty())
      add(words, {"--mca", "plm_rsh_agent", placement.remote_shell});
    if (!placement.network.empty())
      add(words, {"--mca", "btl_tcp_if_include", placement.network, "--mca", "oob_tcp_if_include",
                  placement.network});
  }
  if (placement.root)
    line.environment = {{"OMPI_ALLOW_RUN_AS_ROOT", "1"}, {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"}};
  return line;
}

CommandLine srun_line(const RankPlaces& placement) {
  CommandLine line;
  line.words = {"srun", "--mpi=pmix", "--label", "--kill-on-bad-exit=1",
                "--ntasks=" + std::to_string(placement.ranks)};
  if (placement.remote()) {
    std::string names;
    for (const Host& host : placement.hosts) names += (names.empty() ? "" : ",") + host.name;
    add(line.words, {"--nodes=" + std::to_string(placement.hosts.size()), "--nodelist=" + names});
  }
  add(line.words, placement.slurm_flags);
  return line;
}

CommandLine self_line(const RankPlaces& placement, const std::string& program) {
  CommandLine line{{}, {program, "launch", "--start-here", std::to_string(placement.ranks)}};
  if (placement.remote()) add(line.words, {"--hosts", hosts_text(placement.hosts)});
  if (!placement.remote_shell.empty()) add(line.words, {"--rsh", placement.remote_shell});
  return line;
}

}  // namespace

std::string shell_quoted(const std::string& word) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-+=./:,@%").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), plain)) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string CommandLine::text() const {
  std::string text;
  for (const auto& [name, value] : environment) text += name + "=" + shell_quoted(value) + " ";
  for (size_t i = 0; i < words.size(); ++i) text += (i ? " " : "") + shell_quoted(words[i]);
  return text;
}

CommandLine start_line(const RankPlaces& placement,
                       const std::vector<std::string>& program,
                       const std::vector<std::pair<std::string, std::string>>& exports) {
  using Starter = RankPlaces::Starter;
  CommandLine line = placement.starter == Starter::mpirun ? mpirun_line(placement)
                     : placement.starter == Starter::srun ? srun_line(placement)
                                                          : self_line(placement, program[0]);
  // What srun starts has its whole environment, and so has what we start on this machine.
  const bool by_name = placement.starter == Starter::mpirun ||
                       (placement.starter == Starter::self && placement.remote());
  for (const auto& one : exports) {
    line.environment.push_back(one);
    if (by_name) add(line.words, {"-x", one.first});
  }
  if (placement.starter == Starter::self) line.words.push_back("--");
  add(line.words, program);
  return line;
}

std::vector<std::string> words_on(const RankPlaces& placement,
                                  const std::string& host,
                                  const std::vector<std::string>& words) {
  if (placement.remote_shell.empty() && is_this_machine(host)) return words;
  Words all;
  if (placement.remote_shell.empty()) {
    all = {"ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"};
  } else {
    std::istringstream text(placement.remote_shell);
    for (std::string word; text >> word;) all.push_back(word);
  }
  add(all, {host, CommandLine{{}, words}.text()});
  return all;
}

}  // namespace isoflop
