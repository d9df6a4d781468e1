// The words after a verb that takes a run: `run.toml`, `key=value`, and whatever else (texts).
#pragma once
#include "pretrain/config/load.hpp"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct ConfigArguments {
  std::vector<std::string> words;  // bind to a positional option
  std::string preset;              // bind to --preset

  /// What the words are: a name that ends in .toml, assignments, the rest. UserError for two files.
  std::optional<std::filesystem::path> file() const;
  std::vector<std::string> overrides() const;  // --preset first
  std::vector<std::string> others() const;
};

/// NAME=VALUE with a dotted name before the '='; a path such as books/a=b.txt is none.
bool is_assignment(const std::string& word);

}  // namespace isoflop
