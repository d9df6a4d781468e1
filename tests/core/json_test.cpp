#include "core/json.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

std::string complaint(const std::string& text) {
  try {
    parse_json<nlohmann::json>(text, "a.json");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

std::string nested(size_t depth) {
  return std::string(depth, '[') + std::string(depth, ']');
}

TEST(Json, SaysWhatIsWrongWhere) {
  EXPECT_EQ(complaint(R"({"a": [1, 2.5]})"), "");
  EXPECT_EQ(complaint(R"({"a": ])"), "a.json: not valid JSON at byte 7 of 7");
  EXPECT_NE(complaint("[1e999]").find("a.json: not usable JSON: "), std::string::npos);
}

TEST(Json, DepthIsBounded) {
  EXPECT_EQ(complaint(nested(100)), "");
  for (const size_t depth : {102u, 1'000'000u})
    EXPECT_EQ(complaint(nested(depth)), "a.json: JSON nested deeper than 100");
}

}  // namespace
}  // namespace isoflop
