// The program: finds the command, parses its flags, runs it, and turns what was thrown into an exit
// code.
#pragma once
#include <string>
#include <vector>

namespace isoflop {

/// `arguments` without the program's name. Never throws.
int run_program(const std::vector<std::string>& arguments);

/// Of the running program's bytes, in hexadecimal: what ranks and cached checks are held to.
std::string program_hash();

}  // namespace isoflop
