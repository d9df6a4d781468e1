// The list of every key of a run file. Parsing, range checks, --help, docs/config.md and the
// resolved dump all come from it; a new key is a member in run_config.hpp and a row in fields.cpp.
#pragma once
#include "pretrain/config/run_config.hpp"
#include "pretrain/config/value.hpp"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

enum class FieldKind { boolean, integer, tokens, real, text, reals, entries };

/// What 0 (or "" or an empty list) stands for.
enum class Zero {
  itself,
  automatic,  // written "auto": decided before the run starts and stored decided
  unset,      // not written at all
};

struct Field {
  std::string key;  // "schedule.batch_tokens"
  FieldKind kind = FieldKind::text;
  Zero zero = Zero::itself;
  bool frozen = false;  // part of what a run computes, so a resumed run refuses to change it
  double lowest = 0, highest = 0;    // inclusive; of integers and reals
  std::vector<std::string> choices;  // of text; empty = anything. Of entries: what a path may have
  std::string help;
  std::function<Value(const RunConfig&)> get;
  /// Checks kind, range and choices; UserError names setting.where, the key, what it expects and
  /// what it found.
  std::function<void(RunConfig&, const Setting&)> set;

  /// "auto" or an integer from 1 to 8; "linear | cosine"; for messages and help.
  std::string expects() const;
  /// The default as TOML, "auto", or empty when unset.
  std::string default_text() const;
};

const std::vector<Field>& config_fields();
/// Null when there is no such key.
const Field* find_field(std::string_view key);
/// "did you mean schedule.warmup?", or a hint where the keys are listed.
std::string nearest_key_hint(std::string_view key);

}  // namespace isoflop
