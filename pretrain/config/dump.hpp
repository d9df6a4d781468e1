// A RunConfig as text: the resolved run file, the differences between two, and the list of keys.
#pragma once
#include "pretrain/config/load.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// Every key as TOML, sections in the order of the list, each with a comment on where its value
/// came from. Reading it back gives the same config; keys without a value (other lengths, no data)
/// are left out.
std::string config_to_toml(const RunConfig& config, const Origins& origins);

struct ConfigDifference {
  std::string key;
  std::string a, b;     // as TOML; "auto" or "(not set)" where that is what it is
  bool frozen = false;  // a resumed run refuses it
};
std::vector<ConfigDifference> compare_configs(const RunConfig& a, const RunConfig& b);

/// docs/config.md: one table a section. `isoflop inspect --keys` prints it.
std::string config_reference();

}  // namespace isoflop
