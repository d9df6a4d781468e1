// JSON that comes from a file. For .cpp files: the library's header is heavy.
#pragma once
#include "core/error.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace isoflop {

/// `text` as JSON (nlohmann::json or ordered_json). FormatError naming `origin` and the byte for
/// what is no JSON, holds numbers out of range, or nests deeper than 100: copying and printing
/// recurse, so depth is stack.
template <class Json>
Json parse_json(std::string_view text, const std::string& origin) {
  constexpr int kMostDepth = 100;
  try {
    return Json::parse(text, [&](int depth, nlohmann::detail::parse_event_t, Json&) {
      if (depth > kMostDepth) fail_format("{}: JSON nested deeper than {}", origin, kMostDepth);
      return true;
    });
  } catch (const nlohmann::json::parse_error& e) {
    fail_format("{}: not valid JSON at byte {} of {}", origin, e.byte, text.size());
  } catch (const nlohmann::json::exception& e) {
    fail_format("{}: not usable JSON: {}", origin, e.what());
  }
}

}  // namespace isoflop
