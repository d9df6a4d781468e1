#include "pretrain/config/value.hpp"

#include <fmt/format.h>

#include <cmath>

namespace isoflop {

namespace {

std::string number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  return fmt::format("{}", value);  // shortest digits that read back as the same double
}

template <class T, class Print>
std::string list(const std::vector<T>& items, Print print) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i) {
    if (i) text += ", ";
    text += print(items[i]);
  }
  return text + "]";
}

std::string entry_text(const DataEntry& entry) {
  const std::string path = toml_quoted(entry.path);
  if (entry.weight == 0 && entry.name.empty()) return path;
  std::string text = "{ path = " + path;
  if (entry.weight != 0) text += ", weight = " + number(entry.weight);
  if (!entry.name.empty()) text += ", name = " + toml_quoted(entry.name);
  return text + " }";
}

struct ToToml {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return number(value); }
  std::string operator()(const std::string& value) const { return toml_quoted(value); }
  std::string operator()(const std::vector<std::string>& value) const {
    return list(value, toml_quoted);
  }
  std::string operator()(const std::vector<double>& value) const { return list(value, number); }
  std::string operator()(const std::vector<DataEntry>& value) const {
    return list(value, entry_text);
  }
};

struct Describe {
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(int64_t value) const { return fmt::format("the number {}", value); }
  std::string operator()(double value) const { return "the number " + number(value); }
  std::string operator()(const std::string& value) const { return "text " + toml_quoted(value); }
  std::string operator()(const std::vector<std::string>& value) const {
    return value.empty() ? "an empty list" : fmt::format("a list of {} texts", value.size());
  }
  std::string operator()(const std::vector<double>& value) const {
    return fmt::format("a list of {} numbers", value.size());
  }
  std::string operator()(const std::vector<DataEntry>& value) const {
    return fmt::format("a list of {} entries", value.size());
  }
};

}  // namespace

std::string toml_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      result += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string to_toml(const Value& value) {
  return std::visit(ToToml{}, value);
}
std::string describe(const Value& value) {
  return std::visit(Describe{}, value);
}

}  // namespace isoflop
