#include "launch/program.hpp"

#include "core/file.hpp"
#include "core/hash.hpp"
#include "launch/command.hpp"
#include "launch/context.hpp"
#include "launch/failure.hpp"
#include "launch/flags.hpp"
#include "pretrain/config/nearest.hpp"

#include <csignal>
#include <filesystem>
#include <new>

namespace isoflop {

namespace {

std::string group_of(const std::string& name) {
  const size_t space = name.find(' ');
  return space == name.npos ? "" : name.substr(0, space);
}

/// All commands, or those of one group ("tokenizer").
std::string overview(const std::string& group) {
  std::string text = group.empty() ? "isoflop " ISOFLOP_VERSION
                                     ": compute-optimal language-model pretraining\n\n"
                                     "usage: isoflop COMMAND [flags]\n\n"
                                   : "usage: isoflop " + group + " COMMAND [flags]\n\n";
  for (const Command& command : commands()) {
    if (!group.empty() && group_of(command.name) != group) continue;
    text += fmt::format("  {:<20} {}\n", command.name, command.summary);
  }
  return text + "\nisoflop COMMAND --help shows an example and all flags.\n";
}

[[noreturn]] void refuse_command(const std::string& word, const std::string& group) {
  const std::string prefix = group.empty() ? "" : group + " ";
  std::vector<std::string> known;
  for (const Command& command : commands()) {
    if (!group.empty() && group_of(command.name) != group) continue;
    known.push_back(command.name);
    if (group.empty() && !group_of(command.name).empty()) known.push_back(group_of(command.name));
  }
  const std::string nearest = nearest_word(prefix + word, known);
  if (nearest.empty())
    fail_user("there is no command {}{}; isoflop --help lists them", prefix, word);
  fail_user("there is no command {}{}; did you mean {}?", prefix, word, nearest);
}

/// The command that the first words name; `used` is how many words.
const Command& find_command(const std::vector<std::string>& words, size_t& used) {
  bool is_group = false;
  for (const Command& command : commands()) {
    if (command.name == words[0]) {
      used = 1;
      return command;
    }
    if (group_of(command.name) != words[0]) continue;
    is_group = true;
    if (words.size() > 1 && command.name == words[0] + " " + words[1]) {
      used = 2;
      return command;
    }
  }
  if (is_group && words.size() == 1) {
    fail_user("{} needs a second word\n\n{}", words[0], overview(words[0]));
  }
  if (is_group) refuse_command(words[1], words[0]);
  refuse_command(words[0], "");
}

ExitCode run_command(const Command& command, std::vector<std::string> words) {
  Flags flags(command.summary, "isoflop " + command.name);
  Context context;
  flags.add_flag("--json", context.json,
                 "print one JSON object on standard output and nothing else there");
  flags.add_flag("--quiet", context.quiet, "say nothing on the way");
  const Action action = command.declare(flags, context);
  if (!flags.parse(std::move(words))) {
    write_stdout(fmt::format("Example:\n  {}\n\n{}", command.example, flags.help()));
    return ExitCode::kDone;
  }
  return action();
}

ExitCode dispatch(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    write_stderr(overview(""));
    return ExitCode::kUser;
  }
  std::vector<std::string> words = arguments;
  if (words[0] == "--version") {
    write_stdout("isoflop " ISOFLOP_VERSION "\n");
    return ExitCode::kDone;
  }
  if (words[0] == "help" && words.size() > 1) {
    words.erase(words.begin());
    words.push_back("--help");
  }
  const bool asks_help = words.back() == "--help" || words.back() == "-h" || words.back() == "help";
  if (asks_help && words.size() == 1) {
    write_stdout(overview(""));
    return ExitCode::kDone;
  }
  if (asks_help && words.size() == 2) {
    bool is_command = false, is_group = false;  // "report" is both
    for (const Command& command : commands()) {
      is_command = is_command || command.name == words[0];
      is_group = is_group || group_of(command.name) == words[0];
    }
    if (is_group && !is_command) {
      write_stdout(overview(words[0]));
      return ExitCode::kDone;
    }
  }
  size_t used = 0;
  const Command& command = find_command(words, used);
  return run_command(command, {words.begin() + static_cast<ptrdiff_t>(used), words.end()});
}

ExitCode report(ExitCode code, const std::string& text) {
  write_stderr("isoflop: " + text + "\n");
  return code;
}

}  // namespace

int run_program(const std::vector<std::string>& arguments) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe comes back as EPIPE
  ExitCode code = ExitCode::kDone;
  try {
    code = dispatch(arguments);
  } catch (...) {
    const Failure failure = current_failure();
    code = failure.text.empty() ? failure.code : report(failure.code, failure.text);
  }
  return static_cast<int>(code);
}

std::string program_hash() {
  const MappedFile program("/proc/self/exe");
  return hash_hex(hash_bytes(program.data(), program.size()));
}

}  // namespace isoflop
