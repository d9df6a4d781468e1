// Files of llm.c and Megatron-LM, written here byte by byte as their formats say.
#include "datasets/foreign_tokens.hpp"

#include "core/error.hpp"
#include "datasets/sampler.hpp"
#include "datasets/token_documents.hpp"
#include "tests/datasets/word_tokenizer.hpp"
#include "tests/support/folder_test.hpp"

#include <cstring>

namespace isoflop {
namespace {

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

template <class T>
std::string packed(const std::vector<int64_t>& ids) {
  std::string out;
  for (const int64_t id : ids) put(out, static_cast<T>(id));
  return out;
}

template <class T = uint16_t>
std::string llmc(const std::vector<int64_t>& ids, int magic = 20240520, int version = 1) {
  std::string out;
  put<int32_t>(out, magic);
  put<int32_t>(out, version);
  put(out, static_cast<int32_t>(ids.size()));
  out.resize(1024);
  return out + packed<T>(ids);
}

struct Index {
  std::vector<int32_t> lengths;
  std::vector<int64_t> pointers, documents;
  uint8_t code = 8;
  uint64_t version = 1;
  std::string bytes() const {
    std::string out("MMIDIDX\0\0", 9);
    put(out, version);
    put(out, code);
    put<uint64_t>(out, lengths.size());
    put<uint64_t>(out, documents.size());
    for (const int32_t n : lengths) put(out, n);
    for (const int64_t n : pointers) put(out, n);
    for (const int64_t n : documents) put(out, n);
    return out;
  }
};

class ForeignTokensTest : public FolderTest {
 protected:
  static std::vector<int32_t> all(const TokenStore& store) {
    std::vector<int32_t> ids(store.tokens());
    store.read(0, ids);
    return ids;
  }
  using Ranges = std::vector<std::pair<uint64_t, uint64_t>>;
  static Ranges documents(const TokenStore& store) {
    Ranges ranges;
    for_each_document(store, [&](uint64_t first, uint64_t last) {
      ranges.emplace_back(first, last);
      return true;
    });
    return ranges;
  }
  std::string complaint(const std::string& file) const {
    EXPECT_THROW(TokenStore::open(file), FormatError);
    return message_of([&] { TokenStore::open(file); });
  }
  // Two documents of 3 + 2 and 4 tokens.
  std::string megatron(const Index& index, const std::string& tokens) const {
    write("m.bin", tokens);
    return write("m.idx", index.bytes());
  }
};

const std::vector<int64_t> kIds = {50256, 1, 2, 3, 50256, 50256, 4, 5};

TEST_F(ForeignTokensTest, LlmcIsRead) {
  const std::string file = write("a.bin", llmc(kIds));
  EXPECT_TRUE(TokenStore::looks_like_store(file));
  const auto store = TokenStore::open(file, true);
  EXPECT_EQ(all(*store), (std::vector<int32_t>{50256, 1, 2, 3, 50256, 50256, 4, 5}));
  EXPECT_EQ(store->info().vocabulary, 50257);
  EXPECT_EQ(store->info().separator, 50256);
  EXPECT_EQ(store->info().tokenizer_hash, 0u);
  EXPECT_EQ(documents(*store), (Ranges{{1, 4}, {6, 8}}));
  const std::string wide = write("b.bin", llmc<uint32_t>({128000, 7, 100000}, 20240801, 7));
  EXPECT_EQ(all(*TokenStore::open(wide)), (std::vector<int32_t>{128000, 7, 100000}));
  EXPECT_EQ(TokenStore::open(wide)->info().vocabulary, 128256);
}

TEST_F(ForeignTokensTest, DocumentsAcrossChunksAreWhole) {
  std::vector<int64_t> ids(200'000, 7);
  for (const size_t at : {0, 65'535, 65'536, 131'072, 199'999}) ids[at] = 50256;
  const auto store = TokenStore::open(write("a.bin", llmc(ids)));
  EXPECT_EQ(documents(*store), (Ranges{{1, 65'535}, {65'537, 131'072}, {131'073, 199'999}}));
}

TEST_F(ForeignTokensTest, TheTokenizerIsTakenAtItsWord) {
  const WordTokenizer tokenizer;  // 50,000 tokens, separator 0
  const auto store = TokenStore::open(write("a.bin", llmc({1, 0, 49'999})), true, &tokenizer);
  EXPECT_EQ(store->info().vocabulary, 50'000);
  EXPECT_EQ(store->info().tokenizer_hash, tokenizer.hash());
  EXPECT_EQ(documents(*store), (Ranges{{0, 1}, {2, 3}}));
  const std::string file = write("b.bin", llmc({1, 2, 50'000, 3}));
  const std::string said = message_of([&] { TokenStore::open(file, true, &tokenizer); });
  EXPECT_NE(said.find("token 2 of the file is 50000"), std::string::npos) << said;
  EXPECT_NE(said.find("--tokenizer"), std::string::npos) << said;
}

TEST_F(ForeignTokensTest, MegatronIsRead) {
  const std::vector<int64_t> ids = {1, 2, 3, 4, 65'535, 6, 7, 8, 9};
  const Index index{{3, 2, 4}, {0, 6, 10}, {0, 2, 3}};
  const std::string file = megatron(index, packed<uint16_t>(ids));
  for (const std::string& name : {file, path("m.bin").string(), path("m").string()}) {
    EXPECT_TRUE(TokenStore::looks_like_store(name)) << name;
    const auto store = TokenStore::open(name, true);
    EXPECT_EQ(all(*store), (std::vector<int32_t>{1, 2, 3, 4, 65'535, 6, 7, 8, 9}));
    EXPECT_EQ(documents(*store), (Ranges{{0, 5}, {5, 9}}));
  }
  // With a mode for each sequence, and the two wider types.
  write("m.idx", index.bytes() + std::string(3, '\0'));
  EXPECT_EQ(TokenStore::open(file)->tokens(), 9u);
  const Index wide{{3, 2, 4}, {0, 12, 20}, {0, 2, 3}, 4};
  EXPECT_EQ(all(*TokenStore::open(megatron(wide, packed<int32_t>(ids)))).at(4), 65'535);
  const Index widest{{3, 2, 4}, {0, 24, 40}, {0, 2, 3}, 5};
  EXPECT_EQ(all(*TokenStore::open(megatron(widest, packed<int64_t>(ids)))).at(4), 65'535);
}

TEST_F(ForeignTokensTest, NegativeAndHugeIdsAreRefused) {
  const WordTokenizer tokenizer;
  const Index narrow{{3}, {0}, {0, 1}, 4};
  const std::string file = megatron(narrow, packed<int32_t>({1, -1, 2}));
  EXPECT_NE(
      message_of([&] { TokenStore::open(file, true, &tokenizer); }).find("token 1 of the file"),
      std::string::npos);
  const Index wide{{3}, {0}, {0, 1}, 5};
  megatron(wide, packed<int64_t>({1, 2, (int64_t{1} << 32) + 5}));
  EXPECT_NE(message_of([&] {
              TokenStore::open(file, true, &tokenizer);
            }).find("token 2 of the file is 4294967301"),
            std::string::npos);
}

TEST_F(ForeignTokensTest, WrongHeadersAreNamed) {
  const std::string good = llmc(kIds);
  EXPECT_NE(complaint(write("a.bin", good + "x")).find("has 1041 bytes"), std::string::npos);
  EXPECT_NE(complaint(write("a.bin", good.substr(0, 1030))).find("8 tokens need 1040"),
            std::string::npos);
  EXPECT_NE(complaint(write("a.bin", good.substr(0, 100))).find("header"), std::string::npos);
  EXPECT_NE(complaint(write("a.bin", llmc(kIds, 20240520, 2))).find("version is 2"),
            std::string::npos);
  const std::string tokens = packed<uint16_t>({1, 2, 3, 4, 5});
  const std::vector<std::pair<Index, std::string>> cases = {
      {{{3, 2}, {0, 6}, {0, 2}, 1}, "code 1"},
      {{{3, 2}, {0, 6}, {0, 2}, 8, 3}, "version is 3"},
      {{{3, 2}, {0, 4}, {0, 2}}, "sequence 1 lies at byte 4, expected 6"},
      {{{3, -2}, {0, 6}, {0, 2}}, "sequence 1 has length -2"},
      {{{3, 2}, {0, 6}, {0, 3}}, "list of documents"},
      {{{3, 2}, {0, 6}, {1, 2}}, "list of documents"},
      {{{3, 2}, {0, 6}, {0, 2, 1}}, "list of documents"},
      {{{3, 2}, {0, 6}, {}}, "empty"},
      {{{3, 3}, {0, 6}, {0, 2}}, "has 10 bytes, but the 6 tokens"},
  };
  for (const auto& [index, expected] : cases) {
    const std::string said = complaint(megatron(index, tokens));
    EXPECT_NE(said.find(expected), std::string::npos) << said;
  }
  const std::string whole = Index{{3, 2}, {0, 6}, {0, 2}}.bytes();
  for (size_t size = 9; size < whole.size(); ++size) {
    write("m.idx", whole.substr(0, size));
    EXPECT_NE(complaint(path("m.idx").string()).find("m.idx"), std::string::npos) << size;
  }
  std::string huge = whole;
  std::memset(huge.data() + 18, 0xff, 8);  // 2^64 - 1 sequences
  write("m.idx", huge);
  EXPECT_NE(complaint(path("m.idx").string()).find("cut off or damaged"), std::string::npos);
}

TEST_F(ForeignTokensTest, FingerprintsFollowTheContent) {
  const auto fingerprint = [&](const std::string& bytes) {
    return TokenStore::open(write("a.bin", bytes))->info().fingerprint;
  };
  std::vector<int64_t> ids(1000, 5);
  const uint64_t before = fingerprint(llmc(ids));
  EXPECT_EQ(fingerprint(llmc(ids)), before);
  ids[700] = 6;
  EXPECT_NE(fingerprint(llmc(ids)), before);
}

TEST_F(ForeignTokensTest, TheSamplerReadsThemInPlace) {
  std::vector<int64_t> ids;
  for (int i = 0; i < 101; ++i) ids.push_back(i);
  const Sampler sampler({TokenStore::open(write("a.bin", llmc(ids)))}, 10, 1);
  ASSERT_EQ(sampler.windows(), 10u);
  std::vector<int32_t> window(11);
  for (uint64_t i = 0; i < 10; ++i) {
    sampler.read(i, window);
    EXPECT_EQ(window[0] % 10, 0);
    EXPECT_EQ(window[10], window[0] + 10);
  }
}

TEST_F(ForeignTokensTest, WindowsStayWithinRows) {
  TokenStoreWriter writer(path("rows.h5"), 1000, 0, 1);
  writer.set_row_tokens(9);
  for (int row = 0; row < 5; ++row) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 9; ++i) ids.push_back(row * 100 + i);
    writer.add_document(ids, 9);
  }
  writer.finish();
  const auto store = TokenStore::open(path("rows.h5"), true);
  EXPECT_EQ(store->tokens(), 45u);
  EXPECT_EQ(store->windows(8), 5u);
  EXPECT_EQ(store->windows(4), 10u);
  EXPECT_EQ(store->windows(5), 5u);
  EXPECT_EQ(store->windows(9), 0u);
  const Sampler sampler({store}, 4, 1);
  std::vector<int32_t> window(5);
  for (uint64_t i = 0; i < 10; ++i) {
    sampler.read(i, window);
    EXPECT_EQ(window[0] / 100, window[4] / 100);
    EXPECT_EQ(window[0] % 4, 0);
  }
}

}  // namespace
}  // namespace isoflop
