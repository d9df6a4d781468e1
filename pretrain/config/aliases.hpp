// Names under which other tools know our keys, so that a config moved here mostly works and says
// so.
#pragma once
#include <string>
#include <string_view>

namespace isoflop {

/// Our key for another tool's name, with or without a section ("n_embd", "model.hidden_size");
/// empty when there is none.
std::string key_for_alias(std::string_view name);

}  // namespace isoflop
