// A command of the program. One file in launch/commands/ makes one Command; command_table.cpp lists
// them.
//
// To add a verb: write `Command foo_command()` in commands/foo.cpp, declare it in commands.hpp, add
// it to the table. `declare` adds to Flags that already have --help, --json and --quiet, and
// returns what to do once they are parsed.
#pragma once
#include "core/error.hpp"
#include "launch/flags.hpp"

#include <functional>
#include <string>
#include <vector>

namespace isoflop {

class Context;

using Action = std::function<ExitCode()>;

struct Command {
  std::string name;     // "train", or a group and a verb: "tokenizer train"
  std::string summary;  // one line, for the list of commands
  std::string example;  // opens --help; may have several lines
  std::function<Action(Flags&, Context&)> declare;
};

const std::vector<Command>& commands();

/// What open_model reads, for --help.
inline constexpr const char* kAnyModel =
    "run folder, checkpoint, GGUF file, Hugging Face folder or llama2.c .bin";

}  // namespace isoflop
