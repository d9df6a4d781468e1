#include "datasets/token_store.hpp"

#include "core/error.hpp"
#include "tests/support/folder_test.hpp"

#include <numeric>

namespace isoflop {
namespace {

class TokenStoreTest : public FolderTest {
 protected:
  fs::path write_store(const std::string& name, int vocabulary, int documents, int length) const {
    TokenStoreWriter writer(path(name), vocabulary, 0, 0x1234);
    for (int d = 0; d < documents; ++d) {
      std::vector<int32_t> tokens(static_cast<size_t>(length));
      for (size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = static_cast<int32_t>(1 + (static_cast<size_t>(d) * 7919 + i) %
                                                 static_cast<size_t>(vocabulary - 1));
      writer.add_document(tokens, 3 * tokens.size());
    }
    writer.add_source({"books.txt", 1000, 0xfedcba9876543210});
    writer.finish();
    return path(name);
  }
  void flip_every(size_t stride) const;
};

TEST_F(TokenStoreTest, ReadsBackWhatWasWritten) {
  for (const int vocabulary : {300, 65536, 65537, 200000}) {
    const auto store = TokenStore::open(write_store("s.h5", vocabulary, 5, 999), true);
    EXPECT_EQ(store->tokens(), 5000u);
    const TokenStoreInfo& info = store->info();
    EXPECT_EQ(info.documents, 5u);
    EXPECT_EQ(info.text_bytes, 5u * 2997);
    EXPECT_EQ(info.vocabulary, vocabulary);
    EXPECT_EQ(info.separator, 0);
    EXPECT_EQ(info.tokenizer_hash, 0x1234u);
    EXPECT_EQ(info.token_bytes, vocabulary <= 65536 ? 2 : 4);
    ASSERT_EQ(info.sources.size(), 1u);
    EXPECT_EQ(info.sources[0].path, "books.txt");
    EXPECT_EQ(info.sources[0].hash, 0xfedcba9876543210u);
    std::vector<int32_t> tokens(1000);
    for (int d = 0; d < 5; ++d) {
      EXPECT_EQ(store->document_offset(static_cast<uint64_t>(d)), static_cast<uint64_t>(d) * 1000);
      store->read(static_cast<uint64_t>(d) * 1000, tokens);
      EXPECT_EQ(tokens[998], 1 + (d * 7919 + 998) % (vocabulary - 1));
      EXPECT_EQ(tokens[999], 0);  // the separator
    }
    EXPECT_EQ(store->document_offset(5), 5000u);
    EXPECT_THROW(store->read(4500, tokens), std::logic_error);
    EXPECT_THROW(store->read(~uint64_t{0}, tokens), std::logic_error);
  }
}

TEST_F(TokenStoreTest, WithoutASeparatorDocumentsTouch) {
  TokenStoreWriter writer(path("s.h5"), 10, -1, 1);
  writer.append(std::vector<int32_t>{1, 2});
  writer.append(std::vector<int32_t>{3});
  writer.end_document(3);
  writer.add_document({}, 0);
  writer.add_document(std::vector<int32_t>{4}, 1);
  EXPECT_EQ(writer.finish().tokens, 4u);
  const auto store = TokenStore::open(path("s.h5"));
  std::vector<int32_t> tokens(4);
  store->read(0, tokens);
  EXPECT_EQ(tokens, (std::vector<int32_t>{1, 2, 3, 4}));
  EXPECT_EQ(store->document_offset(1), 3u);
  EXPECT_EQ(store->document_offset(2), 3u);
}

TEST_F(TokenStoreTest, UnfinishedWriterLeavesNothing) {
  {
    TokenStoreWriter writer(path("s.h5"), 300, 0, 1);
    writer.add_document(std::vector<int32_t>(3'000'000, 5), 1);
  }
  EXPECT_TRUE(fs::is_empty(path(".")));
}

TEST_F(TokenStoreTest, OldStoreStaysUntilTheNewOneIsWhole) {
  write_store("s.h5", 300, 1, 10);
  {
    TokenStoreWriter writer(path("s.h5"), 300, 0, 1);
    writer.add_document(std::vector<int32_t>(100, 5), 1);
    EXPECT_EQ(TokenStore::open(path("s.h5"), true)->tokens(), 11u);
    writer.finish();
  }
  EXPECT_EQ(TokenStore::open(path("s.h5"), true)->tokens(), 101u);
}

TEST_F(TokenStoreTest, TruncatedStoresAreNamed) {
  const std::string good = read_file(write_store("books.h5", 300, 3, 2000));
  for (size_t left = 0; left < good.size(); left += 97) {
    write("books.h5", good.substr(0, left));
    const std::string text = message_of([&] { TokenStore::open(path("books.h5")); });
    ASSERT_NE(text.find("books.h5"), std::string::npos) << left << ": " << text;
    EXPECT_THROW(TokenStore::open(path("books.h5")), FormatError) << left;
  }
}

// HDF5 looks for its first bytes at 0, 512, 1024 and 2048 too: nothing may hide there.
TEST_F(TokenStoreTest, NothingHidesBehindTheSeal) {
  const fs::path store = write_store("books.h5", 300, 3, 20);
  for (size_t at = sizeof(uint64_t) * 5; at < 4096; at += 61) {
    flip_byte(store, at, 0x89);
    EXPECT_THROW(TokenStore::open(store), FormatError) << at;
    flip_byte(store, at, 0x89);
  }
  EXPECT_NO_THROW(TokenStore::open(store));
}

// Every byte that means something is covered by a hash: a flip is refused or changes nothing we
// read.
void TokenStoreTest::flip_every(size_t stride) const {
  write_store("good.h5", 300, 3, 20);
  const fs::path damaged = write_store("books.h5", 300, 3, 20);
  const size_t size = fs::file_size(damaged);
  const auto expected = TokenStore::open(path("good.h5"), true);
  std::vector<int32_t> expected_tokens(63), tokens(63);
  expected->read(0, expected_tokens);
  size_t refused = 0;
  for (size_t at = 0; at < size; at += stride) {
    flip_byte(damaged, at, 0x10);
    try {
      const auto store = TokenStore::open(damaged, true);
      store->read(0, tokens);
      EXPECT_EQ(tokens, expected_tokens) << at;
      EXPECT_EQ(store->info().vocabulary, 300) << at;
      EXPECT_EQ(store->info().separator, 0) << at;
      EXPECT_EQ(store->info().text_bytes, expected->info().text_bytes) << at;
      EXPECT_EQ(store->info().tokenizer_hash, 0x1234u) << at;
      EXPECT_EQ(store->info().sources[0].path, "books.txt") << at;
      EXPECT_EQ(store->document_offset(1), 21u) << at;
    } catch (const FormatError& e) {
      EXPECT_NE(std::string(e.what()).find("books.h5"), std::string::npos) << e.what();
      ++refused;
    }
    flip_byte(damaged, at, 0x10);
  }
  EXPECT_GE(refused, (size - 4096) / stride);  // all but the free room in the first 4 KB
}

TEST_F(TokenStoreTest, FlippedBytesAreNoticed) {
  flip_every(7);
}
TEST_F(TokenStoreTest, SlowFlippedBytesAreNoticed) {
  flip_every(1);
}

TEST_F(TokenStoreTest, DamagedTokensNameTheirBlock) {
  std::string bytes = read_file(write_store("books.h5", 300, 1, 1'500'000));
  const size_t at =
      bytes.size() / 2;  // 3 MB of tokens and little else: in the second of three blocks
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  write("books.h5", bytes);
  EXPECT_NO_THROW(TokenStore::open(path("books.h5")));
  const std::string text = message_of([&] { TokenStore::open(path("books.h5"), true); });
  EXPECT_NE(text.find("block 1"), std::string::npos) << text;
}

// Without `verify` a token outside the vocabulary must still never reach an embedding table.
TEST_F(TokenStoreTest, TokensOutsideTheVocabularyAreRefusedWhenRead) {
  std::string bytes = read_file(write_store("books.h5", 300, 1, 100'000));
  bytes[100'001 | 1] = '\x7f';
  write("books.h5", bytes);
  const auto store = TokenStore::open(path("books.h5"));
  std::vector<int32_t> tokens(store->tokens());
  EXPECT_THROW(store->read(0, tokens), FormatError);
}

TEST_F(TokenStoreTest, OtherFilesAreRefused) {
  write("notes.txt", "some text");
  EXPECT_FALSE(TokenStore::looks_like_store(path("notes.txt")));
  EXPECT_FALSE(TokenStore::looks_like_store(path("absent.txt")));
  EXPECT_TRUE(TokenStore::looks_like_store(write("empty.h5", "")));
  EXPECT_TRUE(TokenStore::looks_like_store(write_store("s.h5", 300, 1, 1)));
  fs::rename(path("s.h5"), path("s.tokens"));
  EXPECT_TRUE(TokenStore::looks_like_store(path("s.tokens")));
  EXPECT_THROW(TokenStore::open(path("notes.txt")), FormatError);
  EXPECT_THROW(TokenStore::open(path("empty.h5")), FormatError);
  EXPECT_THROW(TokenStore::open(path("absent.h5")), UserError);
}

TEST_F(TokenStoreTest, WriterRefusesWhatCannotBe) {
  EXPECT_THROW(TokenStoreWriter(path("no/folder.h5"), 10, 0, 1), IoError);
  TokenStoreWriter writer(path("s.h5"), 10, 0, 1);
  EXPECT_THROW(writer.append(std::vector<int32_t>{10}), std::logic_error);
  EXPECT_THROW(writer.append(std::vector<int32_t>{-1}), std::logic_error);
}

}  // namespace
}  // namespace isoflop
