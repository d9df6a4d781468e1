#include "pretrain/config/dump.hpp"

#include "pretrain/config/fields.hpp"

#include <fmt/format.h>

namespace isoflop {

namespace {

std::string section_of(const std::string& key) {
  return key.substr(0, key.find('.'));
}
std::string name_in_section(const std::string& key) {
  return key.substr(key.find('.') + 1);
}

/// As TOML; "auto" in quotes; empty when unset.
std::string value_text(const Field& field, const RunConfig& config) {
  const std::string text = to_toml(field.get(config));
  const bool empty = text == "0" || text == "\"\"" || text == "[]";
  if (field.zero == Zero::itself || !empty) return text;
  return field.zero == Zero::automatic ? "\"auto\"" : "";
}

std::string origin_text(const Field& field, const std::string& text, const Origins& origins) {
  const auto found = origins.of.find(field.key);
  if (found != origins.of.end()) return found->second;
  return text == field.default_text() ? "default" : "decided from the others";
}

/// Table cells may not hold the column separator.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '|') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

}  // namespace

std::string config_to_toml(const RunConfig& config, const Origins& origins) {
  std::string out;
  std::string section;
  for (const Field& field : config_fields()) {
    const std::string text = value_text(field, config);
    if (text.empty()) continue;
    if (section_of(field.key) != section) {
      section = section_of(field.key);
      out += fmt::format("{}[{}]\n", out.empty() ? "" : "\n", section);
    }
    const std::string line = fmt::format("{} = {}", name_in_section(field.key), text);
    std::string origin = origin_text(field, text, origins);
    for (char& c : origin) {
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';  // a file name must not end the comment
    }
    out += fmt::format("{:<36}  # {}\n", line, origin);
  }
  return out;
}

std::vector<ConfigDifference> compare_configs(const RunConfig& a, const RunConfig& b) {
  std::vector<ConfigDifference> differences;
  for (const Field& field : config_fields()) {
    std::string first = value_text(field, a);
    std::string second = value_text(field, b);
    if (first == second) continue;
    if (first.empty()) first = "(not set)";
    if (second.empty()) second = "(not set)";
    differences.push_back({field.key, std::move(first), std::move(second), field.frozen});
  }
  return differences;
}

std::string config_reference() {
  std::string out =
      "# Keys of a run file\n\n"
      "A run file is TOML. What a preset sets, the file may change, and the command line "
      "(`isoflop train run.toml optimizer.lr=3e-3`) has the last word. Keys marked `*` are part of "
      "what "
      "a run computes: a resumed run refuses to change them.\n";
  std::string section;
  for (const Field& field : config_fields()) {
    if (section_of(field.key) != section) {
      section = section_of(field.key);
      out += fmt::format(
          "\n## [{}]\n\n| key | default | takes | meaning |\n| --- | --- | --- | --- |\n", section);
    }
    const std::string fallback = field.default_text();
    out += fmt::format("| {}{} | {} | {} | {} |\n", name_in_section(field.key),
                       field.frozen ? " *" : "", fallback.empty() ? "" : "`" + cell(fallback) + "`",
                       cell(field.expects()), cell(field.help));
  }
  return out;
}

}  // namespace isoflop
