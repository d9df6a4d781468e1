// Every reader on ten thousand damaged files: read or refused by name, nothing else. What coverage
// finds beyond that is scripts/fuzz's to look for.
#include "tests/fuzz/damage.hpp"

#include "tests/fuzz/fuzz.hpp"

#include <gtest/gtest.h>

namespace isoflop::fuzz {
namespace {

class Damage : public testing::TestWithParam<Target> {};

TEST_P(Damage, SeedsAreValid) {
  const std::vector<std::string> seeds = GetParam().seeds();
  for (size_t i = 0; i < seeds.size(); ++i)
    EXPECT_NO_THROW(GetParam().run(seeds[i])) << "seed " << i;
}

TEST_P(Damage, IsReadOrRefusedByName) {
  const std::vector<std::string> seeds = GetParam().seeds();
  int accepted = 0;
  for (uint64_t i = 0; i < 10'000; ++i) {
    const std::string bytes = damaged(seeds[i % seeds.size()], seeds[i / 7 % seeds.size()], i);
    ASSERT_NO_THROW(accepted += accepts(GetParam(), bytes)) << "number " << i;
  }
  EXPECT_LT(accepted, 10'000);
  RecordProperty("accepted", accepted);
}

INSTANTIATE_TEST_SUITE_P(Every, Damage, testing::ValuesIn(targets()), [](const auto& test) {
  return std::string(test.param.name);
});

}  // namespace
}  // namespace isoflop::fuzz
