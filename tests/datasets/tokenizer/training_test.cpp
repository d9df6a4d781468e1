#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/tokenizer/merge_learner.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <map>
#include <set>
#include <sstream>

namespace isoflop {
namespace {

using test::encode;
using test::shared_data;
using test::train;
using Kind = Tokenizer::Kind;

/// The definition of training: count all pairs anew for every merge.
std::vector<std::string> learn_naively(const std::vector<WordCount>& words, size_t merges) {
  std::vector<std::vector<std::string>> split;
  for (const WordCount& word : words) {
    split.emplace_back();
    for (const char c : word.word) split.back().emplace_back(1, c);
  }
  std::vector<std::string> result;
  while (result.size() < merges) {
    std::map<std::pair<std::string, std::string>, int64_t> counts;
    for (size_t w = 0; w < words.size(); ++w)
      for (size_t i = 0; i + 1 < split[w].size(); ++i)
        counts[{split[w][i], split[w][i + 1]}] += words[w].count;
    if (counts.empty()) break;
    auto best = counts.begin();  // in ascending order of the pair, so >= prefers the greater
    for (auto at = counts.begin(); at != counts.end(); ++at)
      if (at->second >= best->second) best = at;
    const auto [left, right] = best->first;
    result.push_back(left + ' ' + right);
    for (std::vector<std::string>& symbols : split)
      for (size_t i = 0; i + 1 < symbols.size(); ++i)
        if (symbols[i] == left && symbols[i + 1] == right) {
          symbols[i] += right;
          symbols.erase(symbols.begin() + static_cast<int64_t>(i) + 1);
        }
  }
  return result;
}

TEST(MergeLearner, EqualsTheDefinition) {
  for (uint64_t trial = 0; trial < 40; ++trial) {
    std::map<std::string, int64_t> unique;
    for (uint64_t w = 0; w < 30; ++w) {
      std::string word =
          test::random_bytes(100 * trial + w, 1 + w % 13, 2 + static_cast<int>(trial % 3));
      for (char& c : word) c = static_cast<char>('a' + c);  // few letters: many repeats and ties
      unique[word] += 1 + static_cast<int64_t>(w % 4);
    }
    std::vector<WordCount> words;
    for (const auto& [word, count] : unique) words.push_back({word, count});
    std::vector<std::string> tokens;
    for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));

    MergeLearner learner(words, tokens);
    learner.learn(256 + 60);
    std::vector<std::string> merges;
    for (const auto& [left, right] : learner.merges())
      merges.push_back(learner.tokens()[static_cast<size_t>(left)] + ' ' +
                       learner.tokens()[static_cast<size_t>(right)]);
    ASSERT_EQ(merges, learn_naively(words, merges.size())) << "trial " << trial;
    const std::set<std::string> different(learner.tokens().begin(), learner.tokens().end());
    EXPECT_EQ(different.size(), learner.tokens().size()) << "a text became a token twice";
  }
}

TEST(TokenizerTrainer, ReproducesTheReferenceMergesAndVocabulary) {
  const auto folder = shared_data("tokenizer/cs336");
  if (!folder) GTEST_SKIP() << test::missing_shared_data("tokenizer/cs336");
  const auto tokenizer = train({.vocabulary = 500}, read_file(*folder / "corpus.en"));

  std::istringstream lines(read_file(*folder / "train-bpe-reference-merges.txt"));
  std::vector<std::string> merges;
  for (std::string line; std::getline(lines, line);) merges.push_back(line);
  EXPECT_EQ(tokenizer->merges(), merges);

  const auto vocab = nlohmann::json::parse(read_file(*folder / "train-bpe-reference-vocab.json"));
  ASSERT_EQ(vocab.size(), 500u);
  for (const auto& [text, id] : vocab.items()) EXPECT_EQ(tokenizer->token_text(id), text);
}

TEST(TokenizerTrainer, SpecialTokensAreNotLearnedFrom) {
  const std::string text = "<|endoftext|>the cat<|endoftext|>the cat<|endoftext|>";
  const auto tokenizer = train({.vocabulary = 300}, text);
  for (int32_t id = 1; id < tokenizer->vocabulary(); ++id)
    EXPECT_EQ(tokenizer->token_bytes(id).find("endo"), std::string::npos);
  EXPECT_EQ(tokenizer->separator(), 0);
  EXPECT_EQ(encode(*tokenizer, text, test::Specials::found),
            encode(*train({.vocabulary = 300}, "the cat\nthe cat"), text, test::Specials::found));
}

TEST(TokenizerTrainer, SameTokenizerForAnyNumberOfThreads) {
  std::string text;  // several tiles of the counter, with bytes that are not UTF-8
  for (uint64_t i = 0; i < 150; ++i)
    text += test::mixed_text() + test::random_bytes(i, 100) + "<|endoftext|>\n";
  const auto one = train({.vocabulary = 600, .threads = 1}, text)->to_json();
  EXPECT_EQ(train({.vocabulary = 600, .threads = 2}, text)->to_json(), one);
  EXPECT_EQ(train({.vocabulary = 600, .threads = 3}, text)->to_json(), one);
}

TEST(TokenizerTrainer, WordsDoNotContinueFromOneDocumentToTheNext) {
  TokenizerTrainer trainer({.vocabulary = 300});
  trainer.add("ab");
  trainer.add("ab");
  const auto tokenizer = trainer.finish();
  EXPECT_EQ(tokenizer->merges(), std::vector<std::string>{"a b"});
  EXPECT_EQ(tokenizer->vocabulary(), 258);
}

TEST(TokenizerTrainer, RefusesWhatCannotBe) {
  EXPECT_THROW(TokenizerTrainer({.vocabulary = 256}), UserError);
  EXPECT_NO_THROW(TokenizerTrainer({.vocabulary = 257}));
  using Texts = std::vector<std::string>;
  EXPECT_THROW(TokenizerTrainer({.special_tokens = Texts{"<a>", "<a>"}}), UserError);
  EXPECT_THROW(TokenizerTrainer({.special_tokens = Texts{""}}), UserError);
  EXPECT_THROW(TokenizerTrainer({.special_tokens = Texts{"\xff"}}), UserError);
  EXPECT_THROW(train({}, ""), UserError);
  EXPECT_THROW(train({.kind = Kind::chars}, ""), UserError);
  EXPECT_THROW(train({.kind = Kind::chars}, "abc\xff"), UserError);
}

TEST(TokenizerTrainer, BytesNeedNoText) {
  const auto tokenizer = TokenizerTrainer({.kind = Kind::bytes}).finish();
  EXPECT_EQ(tokenizer->kind(), Kind::bytes);
  EXPECT_EQ(tokenizer->vocabulary(), 257);
  EXPECT_EQ(tokenizer->separator(), 0);
  EXPECT_EQ(encode(*tokenizer, "!\n"), (test::Ids{1, 199}));
  const auto bare =
      TokenizerTrainer({.kind = Kind::bytes, .special_tokens = std::vector<std::string>{}})
          .finish();
  EXPECT_EQ(bare->vocabulary(), 256);
  EXPECT_EQ(bare->separator(), -1);
}

TEST(TokenizerTrainer, ManyPiecesOfOneLongWordAreLearnedQuickly) {
  std::string text = test::random_bytes(3, 1'000'000, 4);
  for (char& c : text) c = "acgt"[static_cast<unsigned char>(c)];
  const auto tokenizer = train({.vocabulary = 1000}, text);
  EXPECT_EQ(tokenizer->vocabulary(), 1000);
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, text)), text);
}

}  // namespace
}  // namespace isoflop
