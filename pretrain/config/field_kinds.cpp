#include "pretrain/config/field_kinds.hpp"

#include "pretrain/config/quantity.hpp"

#include <cmath>

namespace isoflop {

namespace {

bool is_auto(const Field& field, const Setting& setting) {
  const auto* text = std::get_if<std::string>(&setting.value);
  return field.zero == Zero::automatic && text && *text == "auto";
}

bool in_range(const Field& field, double value) {
  if (field.zero != Zero::itself && value == 0) return true;
  return value >= field.lowest && value <= field.highest;  // false for NaN
}

}  // namespace

void refuse(const Field& field, const Setting& setting) {
  fail_user("{}: {} expects {}, found {}", setting.where, field.key, field.expects(),
            describe(setting.value));
}

double as_real(const Field& field, const Setting& setting) {
  if (is_auto(field, setting)) return 0;
  double value = 0;
  if (const auto* real = std::get_if<double>(&setting.value)) {
    value = *real;
  } else if (const auto* integer = std::get_if<int64_t>(&setting.value)) {
    value = static_cast<double>(*integer);
  } else if (const auto* text = std::get_if<std::string>(&setting.value);
             text && field.kind == FieldKind::tokens) {
    value = parse_tokens(*text, setting.where + ": " + field.key);
  } else {
    refuse(field, setting);
  }
  if (!in_range(field, value)) refuse(field, setting);
  return value;
}

int64_t as_integer(const Field& field, const Setting& setting) {
  if (const auto* integer = std::get_if<int64_t>(&setting.value)) {
    if (!in_range(field, static_cast<double>(*integer))) refuse(field, setting);
    return *integer;
  }
  // 2.2e9 is how people write large whole numbers, though TOML reads it as a real.
  const double value = as_real(field, setting);
  constexpr double kExact = 9007199254740992;  // 2^53
  if (value != std::floor(value) || value > kExact) refuse(field, setting);
  return static_cast<int64_t>(value);
}

bool as_boolean(const Field& field, const Setting& setting) {
  if (const auto* value = std::get_if<bool>(&setting.value)) return *value;
  refuse(field, setting);
}

std::string as_text(const Field& field, const Setting& setting) {
  const auto* text = std::get_if<std::string>(&setting.value);
  if (!text) refuse(field, setting);
  if (field.choices.empty()) return *text;
  for (const std::string& choice : field.choices) {
    if (*text == choice) return *text;
  }
  refuse(field, setting);
}

std::vector<std::string> as_texts(const Field& field, const Setting& setting) {
  if (const auto* list = std::get_if<std::vector<std::string>>(&setting.value)) return *list;
  if (const auto* text = std::get_if<std::string>(&setting.value)) return {*text};
  refuse(field, setting);
}

std::vector<DataEntry> as_entries(const Field& field, const Setting& setting) {
  const auto* entries = std::get_if<std::vector<DataEntry>>(&setting.value);
  if (!entries) return entries_of(as_texts(field, setting));
  const bool weights = field.choices[0] == "weight";
  for (const DataEntry& entry : *entries) {
    if (weights ? !entry.name.empty() : entry.weight != 0) refuse(field, setting);
    // Metrics are called valid/NAME/loss, and files after the set.
    if (entry.name.find_first_of("/ \t\n") != entry.name.npos || entry.name.starts_with('.'))
      fail_user("{}: {}: \"{}\" is no name for a set; use letters, digits, - and _", setting.where,
                field.key, entry.name);
    if (weights && (entry.weight != 0) != ((*entries)[0].weight != 0))
      fail_user("{}: {} has a weight for some entries and not for others; give one to each",
                setting.where, field.key);
  }
  return *entries;
}

std::vector<double> as_reals(const Field& field, const Setting& setting) {
  const auto* list = std::get_if<std::vector<double>>(&setting.value);
  if (!list) refuse(field, setting);
  for (const double value : *list) {
    if (!in_range(field, value)) refuse(field, setting);
  }
  return *list;
}

}  // namespace isoflop
