// Every command's maker, one per file in launch/commands/.
#pragma once
#include "launch/command.hpp"

namespace isoflop {

std::vector<Command> tokenizer_commands();
std::vector<Command> data_commands();
Command quickstart_command();
Command fit_command();
Command train_command();
Command launch_command();
Command coordcheck_command();
Command sweep_command();
Command transfer_command();
Command eval_command();
Command generate_command();
Command chat_command();
Command serve_command();
Command export_command();
Command certify_command();
Command import_command();
Command inspect_command();
Command diff_command();
std::vector<Command> bench_commands();
std::vector<Command> report_commands();
Command plan_command();
Command replay_command();
Command doctor_command();

}  // namespace isoflop
