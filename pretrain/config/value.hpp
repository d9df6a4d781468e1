// Value: what a key of a run file may hold, between the text it was read from and the struct it
// goes to.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace isoflop {

using Value = std::variant<bool,
                           int64_t,
                           double,
                           std::string,
                           std::vector<std::string>,
                           std::vector<double>,
                           std::vector<DataEntry>>;

/// One assignment as it was found: key, value, and a place a person can go to ("run.toml:7").
struct Setting {
  std::string key;
  Value value;
  std::string where;
};

/// TOML text that reads back as the same value; numbers in their shortest round-trip form.
std::string to_toml(const Value& value);
/// TOML basic string, quoted and escaped.
std::string toml_quoted(std::string_view text);
/// For messages: `text "six"`, `the number 0.5`, `a list of 2 texts`.
std::string describe(const Value& value);

}  // namespace isoflop
