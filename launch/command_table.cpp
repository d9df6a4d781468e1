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
  std::vector<Command> table;
  const auto add = [&](const Command& command) { table.push_back(command); };
  const auto add_all = [&](const std::vector<Command>& group) {
    for (const Command& command : group) add(command);
  };
  add(quickstart_command());
  add_all(tokenizer_commands());
  add_all(data_commands());
  add(plan_command());
  add(fit_command());
  add(train_command());
  add(launch_command());
  add(coordcheck_command());
  add(sweep_command());
  add(transfer_command());
  add(eval_command());
  add(generate_command());
  add(chat_command());
  add(serve_command());
  add(export_command());
  add(quantize_command());
  add(certify_command());
  add(import_command());
  add(inspect_command());
  add(diff_command());
  add(replay_command());
  add(doctor_command());
  add_all(report_commands());
  add_all(bench_commands());
  return table;
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = make_table();
  return table;
}

}  // namespace isoflop
