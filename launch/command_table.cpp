#include "launch/commands.hpp"

namespace isoflop {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      inspect_command(),
  };
  return table;
}

}  // namespace isoflop
