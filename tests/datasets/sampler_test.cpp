#include "datasets/sampler.hpp"

#include "core/error.hpp"
#include "tests/support/folder_test.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace isoflop {
namespace {

class SamplerTest : public FolderTest {
 protected:
  // Token i of the store is first + i, so a window shows where it came from.
  std::shared_ptr<const TokenStore> store(const std::string& name,
                                          int tokens,
                                          int first = 0,
                                          uint64_t tokenizer = 1) const {
    TokenStoreWriter writer(path(name), 100000, -1, tokenizer);
    std::vector<int32_t> ids(static_cast<size_t>(tokens));
    for (int i = 0; i < tokens; ++i) ids[static_cast<size_t>(i)] = first + i;
    writer.add_document(ids, 1);
    writer.finish();
    return TokenStore::open(path(name));
  }
};

TEST_F(SamplerTest, EveryWindowOncePerEpoch) {
  const Sampler sampler({store("a.h5", 1000), store("b.h5", 5), store("c.h5", 501, 5000)}, 10, 7);
  ASSERT_EQ(sampler.windows(), 99u + 0 + 50);
  std::vector<std::vector<uint64_t>> orders;
  for (uint64_t epoch = 0; epoch < 3; ++epoch) {
    std::set<std::pair<int, uint64_t>> seen;
    std::vector<uint64_t> order;
    for (uint64_t i = 0; i < sampler.windows(); ++i) {
      const WindowRef ref = sampler.window(epoch * sampler.windows() + i);
      EXPECT_EQ(ref.epoch, epoch);
      EXPECT_EQ(ref.first_token % 10, 0u);
      EXPECT_TRUE(ref.store == 0 || ref.store == 2);
      seen.insert({ref.store, ref.first_token});
      order.push_back(static_cast<uint64_t>(ref.store) << 32 | ref.first_token);
      std::vector<int32_t> tokens(11);
      sampler.read(epoch * sampler.windows() + i, tokens);
      for (int t = 0; t < 11; ++t)
        ASSERT_EQ(tokens[static_cast<size_t>(t)],
                  (ref.store == 2 ? 5000 : 0) + static_cast<int>(ref.first_token) + t);
    }
    EXPECT_EQ(seen.size(), sampler.windows());
    EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
    orders.push_back(order);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
}

TEST_F(SamplerTest, ResumesWithoutState) {
  const auto data = store("a.h5", 3000);
  const Sampler first({data}, 16, 42), second({data}, 16, 42), other({data}, 16, 43);
  std::vector<int32_t> a(17), b(17);
  int differences = 0;
  for (uint64_t i = 0; i < 50; ++i) first.read(i, a);  // history of one of them
  for (uint64_t i = 400; i-- > 0;) {
    first.read(i, a);
    second.read(i, b);
    EXPECT_EQ(a, b);
    other.read(i, b);
    differences += a != b;
  }
  EXPECT_GT(differences, 300);
}

// Neighbours in time should not be neighbours in the text: a shuffle, not a rotation.
TEST_F(SamplerTest, OrderLooksRandom) {
  const Sampler sampler({store("a.h5", 20001)}, 10, 1);
  std::map<int64_t, int> steps;
  for (uint64_t i = 1; i < sampler.windows(); ++i)
    steps[static_cast<int64_t>(sampler.window(i).first_token) -
          static_cast<int64_t>(sampler.window(i - 1).first_token)]++;
  int most = 0;
  for (const auto& [step, count] : steps) most = std::max(most, count);
  EXPECT_LT(most, 12);  // 2,000 differences of +-2,000 values: about one each
}

TEST_F(SamplerTest, MixturesKeepTheSharesAndTheEpochsOfEachSource) {
  const Sampler sampler({{"books", 0.7, {store("a.h5", 1001), store("b.h5", 301, 2000)}},
                         {"web", 0.3, {store("c.h5", 501, 5000)}}},
                        10, 7);
  ASSERT_EQ(sampler.windows(0), 130u);
  ASSERT_EQ(sampler.windows(1), 50u);
  std::vector<std::map<uint64_t, std::set<int32_t>>> seen(2);  // of each source, by epoch
  std::vector<int32_t> tokens(11);
  std::vector<uint64_t> drawn(2);
  for (uint64_t i = 0; i < 1000; ++i) {
    const WindowRef ref = sampler.window(i);
    sampler.read(i, tokens);
    EXPECT_EQ(tokens[0] >= 5000, ref.source == 1);
    const auto source = static_cast<size_t>(ref.source);
    EXPECT_EQ(ref.epoch, drawn[source]++ / sampler.windows(ref.source));
    EXPECT_TRUE(seen[source][ref.epoch].insert(tokens[0]).second) << i;  // once per epoch
  }
  EXPECT_EQ(drawn[0], sampler.drawn(0, 1000));
  EXPECT_NEAR(static_cast<double>(drawn[0]), 700, 1);
  EXPECT_EQ(seen[0][0].size(), 130u);
  EXPECT_EQ(seen[1][4].size(), 50u);
  // The first source is read in the order that it has alone.
  const Sampler alone({store("a.h5", 1001), store("b.h5", 301, 2000)}, 10, 7);
  std::vector<int32_t> expected(11);
  for (uint64_t i = 0, next = 0; next < 300; ++i) {
    if (sampler.window(i).source != 0) continue;
    sampler.read(i, tokens);
    alone.read(next++, expected);
    ASSERT_EQ(tokens, expected);
  }
}

TEST_F(SamplerTest, RefusesTextShorterThanAWindow) {
  const auto small = store("small.h5", 16);
  const std::string text = message_of([&] { Sampler({small}, 16, 1); });
  EXPECT_NE(text.find("small.h5 has 16 tokens"), std::string::npos) << text;
  EXPECT_NE(text.find("needs 17"), std::string::npos) << text;
  EXPECT_THROW(Sampler({small}, 16, 1), UserError);
  EXPECT_EQ(Sampler({small}, 15, 1).windows(), 1u);
  EXPECT_THROW(Sampler({store("none.h5", 0)}, 1, 1), UserError);
}

TEST_F(SamplerTest, RefusesStoresOfDifferentTokenizers) {
  const std::string text = message_of([&] {
    Sampler({store("a.h5", 100), store("b.h5", 100, 0, 2)}, 8, 1);
  });
  EXPECT_NE(text.find("a.h5"), std::string::npos) << text;
  EXPECT_NE(text.find("b.h5"), std::string::npos) << text;
}

}  // namespace
}  // namespace isoflop
