// TOML text to settings; the only place that knows the TOML library.
#pragma once
#include "pretrain/config/value.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// All keys of a file with their sections ("schedule.warmup"), in the order of the library; `name`
/// stands in messages and in Setting::where ("run.toml:7"). UserError with line on a syntax error
/// or a value that no key can hold.
std::vector<Setting> parse_toml(std::string_view text, const std::string& name);

/// The right side of an assignment given outside a file: TOML where it reads as TOML, else plain
/// text
/// (`decay=cosine`, `train=a.h5`). UserError when it is not UTF-8.
Value parse_value(std::string_view text, const std::string& where);

}  // namespace isoflop
