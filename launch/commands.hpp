// Every command's maker, one per file in launch/commands/.
#pragma once
#include "launch/command.hpp"

namespace isoflop {

Command inspect_command();

}  // namespace isoflop
