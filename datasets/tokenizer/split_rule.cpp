#include "datasets/tokenizer/split_rule.hpp"

#include "core/error.hpp"

#include <fmt/ranges.h>

namespace isoflop {

namespace {

using Kind = SplitStep::Kind;

struct NamedRule {
  const char* name;
  std::vector<Kind> steps;
  std::vector<const char*> aliases;
};

const std::vector<NamedRule>& named_rules() {
  static const std::vector<NamedRule> rules = {
      {"gpt-2", {Kind::gpt2}, {"mpt", "olmo", "jais", "phi-2", "exaone4"}},
      {"llama-bpe", {Kind::llama3}, {"llama3", "llama-v3"}},
      {"qwen2", {Kind::qwen2}, {}},
      {"smollm", {Kind::numbers, Kind::gpt2}, {"codeshell", "exaone", "minerva-7b"}},
  };
  return rules;
}

SplitRule rule_of(const NamedRule& named) {
  SplitRule rule;
  for (const Kind kind : named.steps) rule.steps.push_back({kind, {}});
  return rule;
}

}  // namespace

std::optional<SplitRule> SplitRule::find(std::string_view name) {
  for (const NamedRule& rule : named_rules()) {
    if (rule.name == name) return rule_of(rule);
    for (const char* alias : rule.aliases)
      if (alias == name) return rule_of(rule);
  }
  return std::nullopt;
}

SplitRule SplitRule::named(const std::string& name) {
  if (const auto rule = find(name)) return *rule;
  std::vector<std::string> names;
  for (const NamedRule& rule : named_rules()) names.push_back(rule.name);
  fail_user("there is no splitting rule \"{}\"; there are {}", name, fmt::join(names, ", "));
}

std::string SplitRule::name() const {
  for (const NamedRule& rule : named_rules())
    if (*this == rule_of(rule)) return rule.name;
  return "";
}

std::string pattern_of(Kind kind) {
  switch (kind) {
    case Kind::gpt2:
      return R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
    case Kind::llama3:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    case Kind::qwen2:
      return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
             R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    default:
      return "";
  }
}

}  // namespace isoflop
