#include "datasets/tokenizer/json_split_rule.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"

#include <fmt/core.h>

namespace isoflop {

using nlohmann::json;

namespace {

using Kind = SplitStep::Kind;

constexpr size_t kMostSteps = 16;

/// Patterns that we have written out are taken as such, whatever the file calls them.
SplitStep pattern_step(const std::string& pattern) {
  for (const Kind known : {Kind::gpt2, Kind::llama3, Kind::qwen2})
    if (pattern == pattern_of(known)) return {known, {}};
  return {Kind::pattern, pattern};
}

class RuleReader {
 public:
  explicit RuleReader(const JsonInput& in) : in_(in) {}

  SplitRule read(const json& whole) {
    if (!whole.is_object()) in_.fail("pre_tokenizer", "is not an object");
    if (type(whole, "pre_tokenizer") != "Sequence") {
      read_last(whole, "pre_tokenizer");
      return rule_;
    }
    const json& list = in_.member(whole, "pretokenizers");
    if (!list.is_array()) in_.fail("pre_tokenizer.pretokenizers", "is missing or not a list");
    if (list.empty() || list.size() > kMostSteps)
      in_.unsupported(fmt::format("pre_tokenizer with {} steps", list.size()));
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string field = fmt::format("pre_tokenizer.pretokenizers[{}]", i);
      if (!list[i].is_object()) in_.fail(field, "is not an object");
      i + 1 == list.size() ? read_last(list[i], field) : read_split(list[i], field);
    }
    return rule_;
  }

 private:
  const std::string& type(const json& step, const std::string& field) const {
    return in_.string(in_.member(step, "type"), field + ".type");
  }

  void read_last(const json& step, const std::string& field) {
    if (type(step, field) != "ByteLevel")
      in_.unsupported(field + " " + in_quotes(type(step, field)) + " where ByteLevel must stand");
    if (in_.flag(step, field, "add_prefix_space", true))
      rule_.steps.push_back({Kind::space_prefix, {}});
    if (in_.flag(step, field, "use_regex", true)) rule_.steps.push_back({Kind::gpt2, {}});
  }

  void read_split(const json& step, const std::string& field) {
    if (type(step, field) == "Digits") {
      const bool single = in_.flag(step, field, "individual_digits", false);
      rule_.steps.push_back({single ? Kind::numbers : Kind::number_runs, {}});
      return;
    }
    if (type(step, field) != "Split") in_.unsupported(field + " " + in_quotes(type(step, field)));
    const std::string& behavior = in_.string(in_.member(step, "behavior"), field + ".behavior");
    if (behavior != "Isolated") in_.unsupported(field + ".behavior " + in_quotes(behavior));
    in_.flag(step, field, "invert", false);  // what matches and what does not: both stand alone
    const json& pattern = in_.member(step, "pattern");
    if (!pattern.is_object()) in_.fail(field + ".pattern", "is missing or not an object");
    const json& regex = in_.member(pattern, "Regex");
    if (!regex.is_null()) {
      rule_.steps.push_back(pattern_step(in_.string(regex, field + ".pattern.Regex")));
      return;
    }
    const std::string& text = in_.string(in_.member(pattern, "String"), field + ".pattern.String");
    if (text.empty()) in_.fail(field + ".pattern.String", "is empty");
    rule_.steps.push_back({Kind::literal, text});
  }

  const JsonInput& in_;
  SplitRule rule_;
};

}  // namespace

SplitRule read_split_rule(const JsonInput& in, const json& pre_tokenizer) {
  return RuleReader(in).read(pre_tokenizer);
}

}  // namespace isoflop
