#include "launch/commands.hpp"

namespace isoflop {

namespace {

Command quantize_command() {
  Command command = export_command();
  command.name = "quantize";
  command.summary = "another name of export";
  command.example = "isoflop quantize model-f16.gguf --type q4_k_m --out model-q4.gguf";
  return command;
}

/// In the order in which `isoflop --help` lists them.
std::vector<Command> make_table() {
  std::vector<Command> table = {quickstart_command()};
  for (const Command& command : tokenizer_commands()) table.push_back(command);
  for (const Command& command : data_commands()) table.push_back(command);
  for (const Command& command :
       {train_command(), eval_command(), generate_command(), export_command(), quantize_command(),
        import_command(), inspect_command(), diff_command(), replay_command(), doctor_command()})
    table.push_back(command);
  for (const Command& command : report_commands()) table.push_back(command);
  for (const Command& command : bench_commands()) table.push_back(command);
  return table;
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = make_table();
  return table;
}

}  // namespace isoflop
