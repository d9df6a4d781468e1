// Ids that other programs computed, one {"id", "text", "ids"} a line.
#pragma once
#include "core/file.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sstream>
#include <string>
#include <string_view>

namespace isoflop::test {

/// Skips when the file is absent.
inline void expect_reference_encodings(const Tokenizer& tokenizer, std::string_view file) {
  const auto path = shared_data(file);
  if (!path) GTEST_SKIP() << missing_shared_data(file);
  std::istringstream lines(read_file(*path));
  int cases = 0;
  for (std::string line; std::getline(lines, line); ++cases) {
    const auto row = nlohmann::json::parse(line);
    const Ids ids = encode(tokenizer, row["text"].get<std::string>());
    EXPECT_EQ(ids, row["ids"].get<Ids>()) << row["id"];
    EXPECT_EQ(encode(tokenizer, tokenizer.decode(ids)), ids) << row["id"];
  }
  EXPECT_EQ(cases, 30);
}

}  // namespace isoflop::test
