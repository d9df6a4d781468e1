#include "datasets/build.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/text_reader.hpp"
#include "datasets/token_store.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "datasets/tokenizer/trainer.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/datasets/word_tokenizer.hpp"
#include "tests/support/folder_test.hpp"

#include <sys/resource.h>
#include <sys/wait.h>

namespace isoflop {
namespace {

std::string story(int number, int words) {
  std::string text = "Story number " + std::to_string(number) + ".";
  for (int64_t i = 0; i < words; ++i)
    text += (i % 11 == 10 ? "\nword" : " word") + std::to_string((number * 31 + i * i) % 977);
  return text + "\n";
}

std::string stories(int count, int words = 50) {
  std::string text;
  for (int i = 0; i < count; ++i) text += story(i, words + i % 40) + "<|endoftext|>\n";
  return text;
}

std::vector<int32_t> all_tokens(const TokenStore& store) {
  std::vector<int32_t> tokens(store.tokens());
  store.read(0, tokens);
  return tokens;
}

class BuildTest : public FolderTest {
 protected:
  BuildOptions options() const {
    BuildOptions options;
    options.out = path("train.h5");
    options.valid_out = path("valid.h5");
    options.valid_fraction = 0.1;
    return options;
  }
  BuildReport build(const std::string& text, const BuildOptions& how) const {
    return build_stores(Corpus::open({write("in/text.txt", text)}), tokenizer_, how);
  }
  bool no_store_is_there() const {
    for (const auto& entry : fs::directory_iterator(path(".")))
      if (entry.is_regular_file()) return false;
    return true;
  }

  WordTokenizer tokenizer_;
};

TEST_F(BuildTest, OneStoreHoldsTheDocumentsInOrder) {
  BuildOptions how = options();
  how.valid_out.clear();
  const std::string text = stories(300);
  const BuildReport report = build(text, how);
  const auto store = TokenStore::open(path("train.h5"), true);
  EXPECT_EQ(report.train.documents, 300u);
  EXPECT_EQ(report.train.tokens, store->tokens());
  EXPECT_EQ(report.train.bytes, text.size() - 300 * std::string("<|endoftext|>\n").size());
  EXPECT_EQ(store->info().text_bytes, report.train.bytes);
  EXPECT_EQ(store->info().tokenizer_hash, tokenizer_.hash());
  ASSERT_EQ(store->info().sources.size(), 1u);
  EXPECT_EQ(store->info().sources[0].hash, hash_text(text));
  std::vector<int32_t> expected;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(store->document_offset(static_cast<uint64_t>(i)), expected.size());
    tokenizer_.encode(story(i, 50 + i % 40), expected, false);
    expected.push_back(0);
  }
  EXPECT_EQ(all_tokens(*store), expected);
}

std::unique_ptr<Tokenizer> sentencepiece(bool collapse_spaces) {
  return read_sentencepiece(test::sentencepiece_bytes({.pieces = test::small_pieces(true),
                                                       .byte_fallback = true,
                                                       .collapse_spaces = collapse_spaces}),
                            "some.model");
}

/// The 256 bytes, and a space put before every text.
std::unique_ptr<Tokenizer> bytes_behind_a_space() {
  std::string json = TokenizerTrainer({.kind = Tokenizer::Kind::bytes}).finish()->to_json();
  const std::string off = "\"add_prefix_space\": false", on = "\"add_prefix_space\": true";
  for (size_t at; (at = json.find(off)) != json.npos;) json.replace(at, off.size(), on);
  return Tokenizer::from_json(json, "text");
}

// A document of several pieces, with tokenizers that treat the beginning of a text their own way.
TEST_F(BuildTest, LongDocumentsGiveTheIdsOfTheWhole) {
  std::string text;
  for (size_t i = 0; text.size() < (900 << 10); ++i)
    text += i % 13 == 12 ? "\nbc" : i % 7 ? " abc" : "  ab";
  std::unique_ptr<Tokenizer> tokenizers[] = {sentencepiece(false), sentencepiece(true),
                                             bytes_behind_a_space()};
  for (const auto& tokenizer : tokenizers)
    for (const bool lines_only : {false, true}) {
      std::string document = text;
      if (lines_only) std::replace(document.begin(), document.end(), ' ', '_');
      ASSERT_TRUE(tokenizer->rules().space_prefix);
      BuildOptions how = options();
      how.valid_out.clear();
      how.overwrite = true;
      build_stores(Corpus::open({write("in/text.txt", document)}), *tokenizer, how);
      std::vector<int32_t> expected;
      tokenizer->encode(document, expected);
      if (tokenizer->separator() >= 0) expected.push_back(tokenizer->separator());
      EXPECT_EQ(all_tokens(*TokenStore::open(path("train.h5"))), expected)
          << tokenizer->rules().split << lines_only;
    }
}

TEST_F(BuildTest, ThreadsChangeNoByte) {
  // 20 MB: more than one batch, documents from 400 bytes to 3 MB.
  std::string text = stories(20'000);
  for (int i = 0; i < 3; ++i) text += story(i, 300'000) + "<|endoftext|>\n";
  std::string train, valid;
  for (const int threads : {1, 2, 3}) {
    BuildOptions how = options();
    how.threads = threads;
    how.overwrite = true;
    build(text, how);
    if (threads == 1) {
      train = read_file(path("train.h5"));
      valid = read_file(path("valid.h5"));
    }
    EXPECT_TRUE(read_file(path("train.h5")) == train)
        << threads;  // not EXPECT_EQ: it would print them
    EXPECT_TRUE(read_file(path("valid.h5")) == valid) << threads;
  }
}

TEST_F(BuildTest, HashSplitKeepsADocumentOnItsSide) {
  BuildOptions how = options();
  const BuildReport report = build(stories(2000), how);
  EXPECT_EQ(report.split, Split::hash);
  EXPECT_EQ(report.train.documents + report.valid.documents, 2000u);
  EXPECT_NEAR(static_cast<double>(report.valid.documents), 200, 60);  // 4.5 standard deviations
  // The same documents in another order and company go to the same sides.
  std::string reversed;
  for (int i = 2100; i-- > 0;) reversed += story(i, 50 + i % 40) + "<|endoftext|>\n";
  how.out = path("train2.h5");
  how.valid_out = path("valid2.h5");
  build(reversed, how);
  const auto documents = [&](const char* name) {
    const auto store = TokenStore::open(path(name), true);
    std::vector<std::vector<int32_t>> result;
    for (uint64_t d = 0; d < store->info().documents; ++d) {
      result.emplace_back(store->document_offset(d + 1) - store->document_offset(d));
      store->read(store->document_offset(d), result.back());
    }
    std::sort(result.begin(), result.end());
    return result;
  };
  const auto before = documents("valid.h5"), after = documents("valid2.h5");
  EXPECT_TRUE(std::includes(after.begin(), after.end(), before.begin(), before.end()));
}

TEST_F(BuildTest, TailSplitTakesTheEndOfEachFile) {
  BuildOptions how = options();
  write("in/a.txt", story(1, 20'000));
  write("in/b.txt", story(2, 10'000));
  const BuildReport report =
      build_stores(Corpus::open({path("in").string()}), tokenizer_, how);  // few documents: tail
  EXPECT_EQ(report.split, Split::tail);
  EXPECT_EQ(report.train.documents, 2u);
  EXPECT_EQ(report.valid.documents, 2u);
  const auto total = static_cast<double>(report.train.bytes + report.valid.bytes);
  EXPECT_EQ(total,
            static_cast<double>(fs::file_size(path("in/a.txt")) + fs::file_size(path("in/b.txt"))));
  EXPECT_NEAR(static_cast<double>(report.valid.bytes) / total, 0.1, 0.002);
  std::vector<int32_t> whole, parts;
  tokenizer_.encode(read_file(path("in/a.txt")), whole, false);
  const auto train = all_tokens(*TokenStore::open(path("train.h5"))),
             valid = all_tokens(*TokenStore::open(path("valid.h5")));
  parts.assign(train.begin(), std::find(train.begin(), train.end(), 0));
  parts.insert(parts.end(), valid.begin(), std::find(valid.begin(), valid.end(), 0));
  EXPECT_EQ(parts, whole);
}

TEST_F(BuildTest, TailSplitCutsTheDocumentAtTheBorder) {
  BuildOptions how = options();
  how.split = Split::tail;
  const BuildReport report = build(stories(500), how);
  EXPECT_EQ(report.train.documents + report.valid.documents, 501u);
  EXPECT_NEAR(static_cast<double>(report.valid.documents), 50, 3);
}

TEST_F(BuildTest, ProgressReachesTheEnd) {
  std::vector<BuildProgress> seen;
  BuildOptions how = options();
  how.progress = [&](const BuildProgress& progress) { seen.push_back(progress); };
  const std::string text = stories(50'000);
  build(text, how);
  ASSERT_GE(seen.size(), 2u);
  for (size_t i = 1; i < seen.size(); ++i) EXPECT_GE(seen[i].bytes_done, seen[i - 1].bytes_done);
  EXPECT_LT(seen[0].bytes_done, text.size());
  EXPECT_GT(seen[0].seconds_left, 0);
  EXPECT_EQ(seen.back().bytes_done, text.size());
  EXPECT_EQ(seen.back().bytes_total, text.size());
  EXPECT_EQ(seen.back().documents, 50'000u);
  EXPECT_EQ(seen.back().seconds_left, 0);
}

TEST_F(BuildTest, StoppingLeavesNothing) {
  std::atomic<bool> stop = false;
  BuildOptions how = options();
  how.stop = &stop;
  how.progress = [&](const BuildProgress&) { stop = true; };
  try {
    build(stories(50'000), how);
    FAIL() << "not stopped";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kInterrupted) << e.what();
  }
  EXPECT_TRUE(no_store_is_there());
}

TEST_F(BuildTest, FailuresLeaveNothing) {
  EXPECT_THROW(build(stories(30'000) + std::string(1, '\0'), options()), UserError);
  EXPECT_TRUE(no_store_is_there());
  // A store that cannot be put in place takes the one already in place with it.
  fs::create_directory(path("train.h5"));
  BuildOptions how = options();
  how.overwrite = true;
  EXPECT_THROW(build(stories(300), how), IoError);
  EXPECT_TRUE(no_store_is_there());
}

TEST_F(BuildTest, ExistingOutputsAreKept) {
  write("train.h5", "precious");
  EXPECT_THROW(build(stories(300), options()), UserError);
  EXPECT_EQ(read_file(path("train.h5")), "precious");
  EXPECT_FALSE(fs::exists(path("valid.h5")));
  BuildOptions how = options();
  how.overwrite = true;
  build(stories(300), how);
  EXPECT_GT(TokenStore::open(path("train.h5"), true)->tokens(), 0u);
}

TEST_F(BuildTest, UnusableOptionsAreRefused) {
  BuildOptions how = options();
  how.valid_fraction = 1;
  EXPECT_THROW(build(stories(300), how), UserError);
  how = options();
  how.valid_out = how.out;
  EXPECT_THROW(build(stories(300), how), UserError);
  how = options();
  how.out.clear();
  EXPECT_THROW(build(stories(300), how), UserError);
  EXPECT_THROW(build("  \n\n", options()), UserError);
  EXPECT_THROW(build("x", options()), UserError);  // nothing to validate with
  how = options();
  how.split = Split::hash;
  how.valid_fraction = 1e-9;
  const std::string text = message_of([&] { build(stories(30), how); });
  EXPECT_NE(text.find("validation part came out empty"), std::string::npos) << text;
  EXPECT_TRUE(no_store_is_there());
  EXPECT_EQ(parse_split("tail"), Split::tail);
  EXPECT_THROW(parse_split("random"), UserError);
}

TEST_F(BuildTest, SlowMemoryStaysBounded) {
  const auto peak_kb = [&](uint64_t bytes, bool separators) {
    {
      std::ofstream file(path("big.txt"), std::ios::binary);
      const std::string block = separators ? stories(500) : story(1, 30'000);
      for (uint64_t done = 0; done < bytes; done += block.size()) file << block;
    }
    const pid_t child = ::fork();
    if (child == 0) {
      BuildOptions how = options();
      how.overwrite = true;
      how.threads = 2;
      build_stores(Corpus::open({path("big.txt").string()}), WordTokenizer(), how);
      ::_exit(0);
    }
    int status = 0;
    rusage usage = {};
    EXPECT_EQ(::wait4(child, &status, 0, &usage), child);
    EXPECT_EQ(status, 0);
    return usage.ru_maxrss;
  };
  for (const bool separators : {true, false}) {
    const long small = peak_kb(20'000'000, separators), large = peak_kb(200'000'000, separators);
    RecordProperty(separators ? "documents_kb" : "one_document_kb", std::to_string(large));
    // Ten times the text; 3.3 MB of offsets for 400,000 documents and allocator noise are allowed.
    EXPECT_LT(large, small + 16'000) << "20 MB needed " << small << " KB, 200 MB " << large;
    EXPECT_LT(large, 120'000);
  }
}

}  // namespace
}  // namespace isoflop
