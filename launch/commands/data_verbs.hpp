// The verbs of `isoflop data`, one file each.
#pragma once
#include "launch/command.hpp"
#include "launch/context.hpp"

#include <string>

namespace isoflop {

Action declare_data_build(Flags& app, Context& context);
Action declare_data_inspect(Flags& app, Context& context);
Action declare_data_batch(Flags& app, Context& context);
Action declare_data_mix(Flags& app, Context& context);

/// Text on one line, for people.
inline std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return text;
}

}  // namespace isoflop
