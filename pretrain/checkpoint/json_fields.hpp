// Fields of a JSON object from a file, each checked: FormatError names the file and the field. Only
// for this folder's .cpp files (the JSON header is heavy).
#pragma once
#include "core/json.hpp"

#include <cmath>
#include <limits>
#include <string>

namespace isoflop::json_fields {

inline nlohmann::ordered_json parse_object(const std::string& text, const std::string& file) {
  nlohmann::ordered_json json = parse_json<nlohmann::ordered_json>(text, file);
  if (!json.is_object()) fail_format("{}: not a JSON object", file);
  return json;
}

inline const nlohmann::ordered_json& member(const nlohmann::ordered_json& object,
                                            const char* key,
                                            const std::string& file) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end()) fail_format("{}: '{}' is missing", file, key);
  return *found;
}

inline uint64_t natural(const nlohmann::ordered_json& object,
                        const char* key,
                        const std::string& file,
                        uint64_t most = std::numeric_limits<int64_t>::max()) {
  const auto& value = member(object, key, file);
  if (!value.is_number_unsigned() || value.get<uint64_t>() > most)
    fail_format("{}: '{}' is not a whole number from 0 to {}", file, key, most);
  return value.get<uint64_t>();
}

inline std::string text(const nlohmann::ordered_json& object,
                        const char* key,
                        const std::string& file) {
  const auto& value = member(object, key, file);
  if (!value.is_string()) fail_format("{}: '{}' is not a string", file, key);
  return value.get<std::string>();
}

/// A number, or null for NaN.
inline double real(const nlohmann::ordered_json& value, const char* key, const std::string& file) {
  if (value.is_null()) return std::numeric_limits<double>::quiet_NaN();
  if (!value.is_number()) fail_format("{}: '{}' is neither a number nor null", file, key);
  return value.get<double>();
}

inline const nlohmann::ordered_json& array(const nlohmann::ordered_json& object,
                                           const char* key,
                                           const std::string& file,
                                           size_t most) {
  const auto& value = member(object, key, file);
  if (!value.is_array() || value.size() > most)
    fail_format("{}: '{}' is not a list of at most {} entries", file, key, most);
  return value;
}

}  // namespace isoflop::json_fields
