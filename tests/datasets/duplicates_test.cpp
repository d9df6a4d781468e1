#include "datasets/duplicates.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/build.hpp"
#include "datasets/min_hash.hpp"
#include "tests/datasets/word_tokenizer.hpp"
#include "tests/support/folder_test.hpp"

#include <nlohmann/json.hpp>

#include <set>

namespace isoflop {
namespace {

// Words of a text of its own for each seed; one in `changed_every` is replaced by another.
std::string story(uint64_t seed, int words, int changed_every = 0) {
  std::string text;
  for (int i = 0; i < words; ++i) {
    uint64_t word = hash_bytes(&seed, sizeof(seed)) + static_cast<uint64_t>(i) * 7919;
    word = hash_bytes(&word, sizeof(word)) % 5000;
    if (changed_every && i % changed_every == changed_every / 2) word += 5000;
    text += "w" + std::to_string(word) + (i % 15 == 14 ? ".\n" : " ");
  }
  return text + "\n";
}

double jaccard(const std::string& a, const std::string& b) {
  const auto shingles = [](const std::string& text) {
    std::vector<std::string> words;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) {
      if (word.back() == '.') word.pop_back();
      words.push_back(word);
    }
    std::set<std::string> result;
    for (size_t i = 0; i + 5 <= words.size(); ++i)
      result.insert(words[i] + " " + words[i + 1] + " " + words[i + 2] + " " + words[i + 3] + " " +
                    words[i + 4]);
    return result;
  };
  const auto first = shingles(a), second = shingles(b);
  size_t common = 0;
  for (const std::string& shingle : first) common += second.count(shingle);
  return static_cast<double>(common) / static_cast<double>(first.size() + second.size() - common);
}

MinHash sketch(const std::string& text) {
  MinHash result;
  result.add(text);
  return result;
}

TEST(MinHash, EstimatesTheJaccardSimilarity) {
  double squares = 0;
  int count = 0;
  for (const int every : {20, 40, 80, 200}) {
    for (uint64_t seed = 0; seed < 25; ++seed) {
      const std::string a = story(seed, 2000), b = story(seed, 2000, every);
      const double exact = jaccard(a, b), error = sketch(a).similarity(sketch(b)) - exact;
      EXPECT_NEAR(error, 0, 0.18) << exact;  // 4 standard deviations
      squares += error * error / (exact * (1 - exact) / MinHash::kHashes);
      ++count;
    }
  }
  // The spread is that of 128 independent places: the hash functions are as good as random.
  EXPECT_NEAR(squares / count, 1, 0.45);  // 3 standard deviations of the mean of 100 squares
  EXPECT_LT(sketch(story(1, 500)).similarity(sketch(story(2, 500))), 0.05);
}

TEST(MinHash, CaseAndPunctuationDoNotCount) {
  EXPECT_EQ(sketch("The quick, brown fox - jumps over!")
                .similarity(sketch("the QUICK brown\nfox jumps, over")),
            1);
  EXPECT_LT(
      sketch("the quick brown fox jumps over").similarity(sketch("the quick brown cat jumps over")),
      0.2);
  EXPECT_EQ(sketch("\u6587\u5b57\u6587\u5b57\u6587\u5b57")
                .similarity(sketch("\u6587\u5b57\u6587, \u5b57\u6587\u5b57")),
            1);
  EXPECT_LT(sketch("!?!").similarity(sketch("...")), 0.1);
  EXPECT_EQ(sketch("\xE6").similarity(sketch("\xE6")), 1);  // cut off within a character
}

class DuplicatesTest : public FolderTest {
 protected:
  Corpus corpus(const std::vector<std::string>& documents) const {
    std::string text;
    for (const std::string& document : documents) text += document + "<|endoftext|>\n";
    return Corpus::open({write("c.txt", text)});
  }
  static std::vector<std::pair<uint64_t, uint64_t>> pairs(const Corpus& corpus, Dedup kind) {
    DedupOptions options;
    options.kind = kind;
    std::vector<std::pair<uint64_t, uint64_t>> result;
    for (const Duplicate& duplicate : find_duplicates(corpus, {}, options).list)
      result.emplace_back(duplicate.document, duplicate.of);
    return result;
  }
};
using Pairs = std::vector<std::pair<uint64_t, uint64_t>>;

TEST_F(DuplicatesTest, ExactOnesAreTheSameBytes) {
  const std::string a = story(1, 100), b = story(2, 100);
  EXPECT_EQ(pairs(corpus({a, b, a, b + " \n", a, b}), Dedup::exact),
            (Pairs{{2, 0}, {4, 0}, {5, 1}}));
  // Also of documents that come in pieces, where only the last differs.
  const std::string large = story(3, 200'000);
  EXPECT_EQ(pairs(corpus({large, large + "x\n", large}), Dedup::exact), (Pairs{{2, 0}}));
}

TEST_F(DuplicatesTest, NearOnesAreAlike) {
  const std::string a = story(1, 1000), b = story(2, 1000);
  // One word in 100 changed: Jaccard 0.9; one in 10: 0.33.
  const Corpus text =
      corpus({a, story(1, 1000, 100), b, story(1, 1000, 10), a, story(2, 1000, 150)});
  EXPECT_EQ(pairs(text, Dedup::near), (Pairs{{1, 0}, {4, 0}, {5, 2}}));
  DedupOptions strict;
  strict.kind = Dedup::near;
  strict.threshold = 1;
  EXPECT_EQ(find_duplicates(text, {}, strict).list.size(), 1u);
  strict.threshold = 0.3;
  EXPECT_THROW(find_duplicates(text, {}, strict), UserError);
}

TEST_F(DuplicatesTest, PartnersStay) {
  // 2 repeats 1, and 1 is near 0: all lead to 0.
  const std::string a = story(1, 1000), near = story(1, 1000, 200);
  EXPECT_EQ(pairs(corpus({a, near, near}), Dedup::near), (Pairs{{1, 0}, {2, 0}}));
}

TEST_F(DuplicatesTest, ThreadsChangeNothing) {
  std::vector<std::string> documents;
  for (uint64_t i = 0; i < 3000; ++i)
    documents.push_back(story(i % 2000, 150, i % 3 ? 0 : 100 + static_cast<int>(i % 50)));
  const Corpus text = corpus(documents);
  std::vector<Duplicate> expected;
  for (const int threads : {1, 3}) {
    DedupOptions options;
    options.kind = Dedup::near;
    options.threads = threads;
    const auto list = find_duplicates(text, {}, options).list;
    if (threads == 1) expected = list;
    ASSERT_EQ(list.size(), expected.size());
    for (size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(list[i].document, expected[i].document);
      EXPECT_EQ(list[i].of, expected[i].of);
    }
  }
  EXPECT_GT(expected.size(), 900u);  // the last 1,000 repeat the first, nearly or exactly
}

TEST_F(DuplicatesTest, CollidingTextsTakeNoLonger) {
  // 20,000 documents that share most bands, none of them similar enough for the threshold: every
  // pair would be 200 million comparisons.
  std::vector<std::string> documents;
  for (uint64_t i = 0; i < 20'000; ++i)
    documents.push_back("one two three four five six seven eight " + std::to_string(i) + "\n");
  DedupOptions options;
  options.kind = Dedup::near;
  options.threshold = 1;
  EXPECT_LT(find_duplicates(corpus(documents), {}, options).list.size(), 20'000u);
}

TEST_F(DuplicatesTest, StoresAreBuiltWithoutThem) {
  const std::string a = story(1, 300), b = story(2, 300), near = story(1, 300, 120);
  BuildOptions how;
  how.out = path("t.h5");
  how.dedup = Dedup::near;
  how.dedup_report = path("dropped.jsonl");
  const Corpus text = corpus({a, near, b, a});
  const BuildReport report = build_stores(text, WordTokenizer(), how);
  EXPECT_EQ(report.train.documents, 2u);
  EXPECT_EQ(report.train.bytes, a.size() + b.size());
  EXPECT_EQ(report.duplicates, 2u);
  ASSERT_EQ(report.examples.size(), 2u);
  EXPECT_EQ(report.examples[0].dropped, near.substr(0, 120));
  EXPECT_EQ(report.examples[0].kept, a.substr(0, 120));
  EXPECT_LT(report.examples[0].similarity, 1);
  EXPECT_EQ(report.examples[1].similarity, 1);
  std::istringstream lines(read_file(path("dropped.jsonl")));
  std::string line;
  std::getline(lines, line);
  const auto first = nlohmann::json::parse(line);
  EXPECT_EQ(first["document"], 1);
  EXPECT_EQ(first["offset"], a.size() + std::string("<|endoftext|>\n").size());
  EXPECT_EQ(first["of_document"], 0);
  EXPECT_EQ(first["of_file"], path("c.txt").string());
  std::getline(lines, line);
  EXPECT_EQ(nlohmann::json::parse(line)["similarity"], 1);
  EXPECT_FALSE(std::getline(lines, line));
}

}  // namespace
}  // namespace isoflop
