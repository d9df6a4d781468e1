// Named starting points: published shapes with the part of their recipe that a run file can state.
#pragma once
#include "pretrain/config/value.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct Preset {
  std::string name;
  std::vector<Setting> settings;
  std::vector<std::string> notes;  // where it differs from what was published
};

std::vector<std::string> preset_names();
/// UserError naming `where` the name was given and the nearest preset when there is none of this
/// name.
Preset find_preset(std::string_view name, std::string_view where);

}  // namespace isoflop
