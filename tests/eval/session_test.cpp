// Reading with what the cache holds gives the logits of reading everything anew; generation on top.
#include "eval/session.hpp"

#include "eval/generate.hpp"
#include "tests/eval/small_model.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace isoflop {
namespace {

std::vector<double> copy(View logits) {
  std::vector<double> values;
  for (int64_t v = 0; v < logits.cols; ++v) values.push_back(load_scalar(logits, 0, v));
  return values;
}

std::vector<int32_t> text_of(std::initializer_list<int> ids) {
  return {ids.begin(), ids.end()};
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::fabs(a[i] - b[i]));
  return most;
}

TEST(Session, CachedLogitsEqualAFullRecompute) {
  test::SmallModel cached;
  // A conversation: goes on, goes on, is taken back, is the same again.
  const std::vector<std::vector<int32_t>> texts = {
      text_of({1, 2, 3, 4, 5, 6, 7}),
      text_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}),
      text_of({1, 2, 3, 4, 50, 51, 52, 53, 54, 55}),
      text_of({1, 2, 3, 4, 50, 51, 52, 53, 54, 55}),
      text_of({9, 2}),
  };
  const std::vector<int64_t> reused = {0, 7, 4, 9, 0};
  for (size_t i = 0; i < texts.size(); ++i) {
    test::SmallModel fresh;
    const auto expected = copy(fresh.session.read(texts[i]));
    const auto found = copy(cached.session.read(texts[i]));
    EXPECT_EQ(cached.session.reused(), reused[i]) << i;
    // The reference backend adds in one order whatever the number of rows: the same bits.
    EXPECT_EQ(largest_difference(expected, found), 0) << i;
  }
}

TEST(Session, AnotherPrefixGivesOtherLogits) {
  test::SmallModel a, b;
  EXPECT_GT(largest_difference(copy(a.session.read(text_of({1, 2, 3}))),
                               copy(b.session.read(text_of({4, 2, 3})))),
            1e-3);
}

TEST(Session, ADocumentMaskIsNotConfusedByWhatWasTakenBack) {
  ModelConfig config = test::small_config();
  config.document_mask = true;
  config.separator = 0;
  test::SmallModel cached(config), fresh(config);
  cached.session.read(text_of({1, 2, 0, 3, 4}));
  EXPECT_EQ(copy(cached.session.read(text_of({1, 2, 5}))),
            copy(fresh.session.read(text_of({1, 2, 5}))));
}

TEST(Session, StopsBetweenPieces) {
  test::SmallModel small;  // pieces of 5
  std::vector<int32_t> text(23);
  std::iota(text.begin(), text.end(), 1);
  int asked = 0;
  EXPECT_FALSE(small.session.read(text, [&] { return ++asked == 3; }));
  EXPECT_TRUE(small.session.read(text));
  EXPECT_EQ(small.session.reused(), 10);
}

TEST(Generate, EndsForEachReason) {
  test::SmallModel small;
  const std::vector<int32_t> prompt = text_of({10, 20, 30});
  const GenerateOptions greedy{.tokens = 8, .sampling = {.temperature = 0}};
  const Generated all = generate(small.session, prompt, greedy);
  ASSERT_EQ(all.ids.size(), 8u);
  EXPECT_EQ(all.ending, Ending::tokens);

  GenerateOptions stops = greedy;
  stops.stop_tokens = {all.ids[3]};
  const auto first =
      static_cast<size_t>(std::find(all.ids.begin(), all.ids.end(), all.ids[3]) - all.ids.begin());
  const Generated stopped = generate(small.session, prompt, stops);
  EXPECT_EQ(stopped.ending, Ending::stop_token);
  EXPECT_EQ(stopped.ids.size(), first);

  const Generated asked = generate(small.session, prompt, greedy, [](int32_t) { return false; });
  EXPECT_EQ(asked.ending, Ending::caller);
  EXPECT_EQ(asked.ids.size(), 1u);

  GenerateOptions full = greedy;
  full.tokens = 1000;
  full.slide = false;
  const Generated ended = generate(small.session, prompt, full);
  EXPECT_EQ(ended.ending, Ending::context);
  EXPECT_EQ(ended.ids.size() + prompt.size(), 65u);  // the last one is not read any more
  full.slide = true;
  full.tokens = 200;
  EXPECT_EQ(generate(small.session, prompt, full).ids.size(), 200u);
}

}  // namespace
}  // namespace isoflop
