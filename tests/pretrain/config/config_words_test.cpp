// Nearest words, quantities, and the page that documents the keys.
#include "core/error.hpp"
#include "core/file.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/nearest.hpp"
#include "pretrain/config/quantity.hpp"

#include <gtest/gtest.h>

#include <set>

namespace isoflop {
namespace {

TEST(ConfigWords, EditDistance) {
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("warmpu", "warmup"), 1);  // a swap of neighbours counts once
  EXPECT_EQ(edit_distance("same", "same"), 0);
}

TEST(ConfigWords, NearestWordIsSilentWhenNothingIsNear) {
  const std::vector<std::string> known = {"train", "eval", "export"};
  EXPECT_EQ(nearest_word("trian", known), "train");
  EXPECT_EQ(nearest_word("xport", known), "export");
  EXPECT_EQ(nearest_word("zzzzz", known), "");
  EXPECT_EQ(nearest_word(std::string(100000, 'a'), known), "");
}

TEST(ConfigWords, Tokens) {
  EXPECT_EQ(parse_tokens("2.2e9", "x"), 2.2e9);
  EXPECT_EQ(parse_tokens("2.2Gtok", "x"), 2.2e9);
  EXPECT_EQ(parse_tokens("375Mtok", "x"), 375e6);
  EXPECT_EQ(parse_tokens("16ktok", "x"), 16e3);
  EXPECT_EQ(parse_tokens("900tok", "x"), 900);
  for (const char* bad : {"", "tok", "5Xtok", "5 Gtok", "-3", "0", "nan", "inf", "1e999", "5G"}) {
    EXPECT_THROW(parse_tokens(bad, "x"), UserError) << bad;
  }
}

TEST(ConfigWords, Seconds) {
  EXPECT_EQ(parse_seconds("90s", "x"), 90);
  EXPECT_EQ(parse_seconds("30m", "x"), 1800);
  EXPECT_EQ(parse_seconds("5min", "x"), 300);
  EXPECT_EQ(parse_seconds("2h", "x"), 7200);
  EXPECT_EQ(parse_seconds("1h30m", "x"), 5400);
  EXPECT_EQ(parse_seconds("1.5d", "x"), 129600);
  for (const char* bad : {"", "30", "m", "30x", "0s", "-5m", "1h30", "infs"}) {
    EXPECT_THROW(parse_seconds(bad, "x"), UserError) << bad;
  }
}

TEST(ConfigWords, KeysAreUniqueAndExplained) {
  std::set<std::string> seen;
  for (const Field& field : config_fields()) {
    EXPECT_TRUE(seen.insert(field.key).second) << field.key;
    EXPECT_FALSE(field.help.empty()) << field.key;
  }
}

TEST(ConfigWords, DefaultsPassTheirOwnChecks) {
  for (const Field& field : config_fields()) {
    RunConfig config;
    EXPECT_NO_THROW(field.set(config, {field.key, field.get(RunConfig{}), "default"})) << field.key;
  }
}

TEST(ConfigWords, ThePageOfKeysIsUpToDate) {
  EXPECT_TRUE(read_file(fs::path(ISOFLOP_SOURCE_DIR) / "docs/config.md") == config_reference())
      << "write it with: isoflop inspect --keys > docs/config.md";
}

}  // namespace
}  // namespace isoflop
