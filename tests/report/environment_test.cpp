#include "report/environment.hpp"

#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

TEST(Environment, FileNamesTheMachineAndTheBuild) {
  const test::TempDir folder;
  write_environment(folder.path(), "plain loops", 2);
  const auto json = nlohmann::json::parse(read_file(folder.path() / "environment.json"));
  EXPECT_EQ(json["version"], ISOFLOP_VERSION);
  EXPECT_EQ(json["backend"], "plain loops");
  EXPECT_EQ(json["threads"], 2);
  EXPECT_GE(json["cores"].get<int>(), 1);
  EXPECT_GT(json["memory_bytes"].get<uint64_t>(), uint64_t{1} << 26);
  for (const char* key : {"compiler", "cpu", "kernel", "host"})
    EXPECT_FALSE(json[key].get<std::string>().empty()) << key;
}

}  // namespace
}  // namespace isoflop
