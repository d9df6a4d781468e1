// Every reader on ten thousand damaged files: read or refused by name, nothing else. What coverage
// finds beyond that is scripts/fuzz's to look for.
#include "tests/fuzz/damage.hpp"

#include "tests/fuzz/fuzz.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

namespace isoflop::fuzz {
namespace {

class Damage : public testing::TestWithParam<Target> {};

TEST_P(Damage, SeedsAreValid) {
  const std::vector<std::string> seeds = GetParam().seeds();
  for (size_t i = 0; i < seeds.size(); ++i)
    EXPECT_NO_THROW(GetParam().run(seeds[i])) << "seed " << i;
}

class NearlyValid : public testing::TestWithParam<Target> {};

TEST_P(NearlyValid, IsRefusedByName) {
  const std::vector<std::string> inputs = GetParam().refused();
  for (size_t i = 0; i < inputs.size(); ++i)
    EXPECT_NO_THROW(EXPECT_FALSE(accepts(GetParam(), inputs[i])) << "input " << i);
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

std::string name_of(const testing::TestParamInfo<Target>& test) {
  return std::string(test.param.name);
}

std::vector<Target> those_with_refused() {
  std::vector<Target> some;
  std::ranges::copy_if(targets(), std::back_inserter(some),
                       [](const Target& t) { return t.refused; });
  return some;
}

INSTANTIATE_TEST_SUITE_P(Every, Damage, testing::ValuesIn(targets()), name_of);
INSTANTIATE_TEST_SUITE_P(Every, NearlyValid, testing::ValuesIn(those_with_refused()), name_of);

}  // namespace
}  // namespace isoflop::fuzz
