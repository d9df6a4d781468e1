// Foreign tokens into our stores, and what statistics say of them. The Model Zoo's file is written
// with the HDF5 library as h5py does: chunks of one example, gzip.
#include "datasets/convert.hpp"

#include "core/error.hpp"
#include "datasets/sampler.hpp"
#include "datasets/statistics.hpp"
#include "tests/datasets/word_tokenizer.hpp"
#include "tests/support/folder_test.hpp"

#include <hdf5.h>

#include <cstring>

namespace isoflop {
namespace {

// Bytes as tokens, and 0 as the separator, so that text bytes can be counted.
class ByteTokens final : public WordTokenizer {
 public:
  int vocabulary() const override { return 257; }
  std::string token_bytes(int32_t id) const override {
    return std::string(1, static_cast<char>(id - 1));
  }
};

struct Zoo {
  std::vector<std::vector<int32_t>> examples;  // of 3 x length numbers
  hsize_t features = 3;
  hsize_t claimed = 0;  // examples in the shape; 0: those there are
  unsigned gzip = 4;
  bool chunked = true;
  void write(const std::string& path) const {
    const hsize_t count = claimed ? claimed : examples.size();
    const hsize_t length = examples[0].size() / features;
    const hsize_t dims[] = {count, features, length}, chunk[] = {1, features, length};
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(3, dims, nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (chunked) H5Pset_chunk(properties, 3, chunk);
    if (chunked && gzip) H5Pset_deflate(properties, gzip);
    const hid_t data =
        H5Dcreate2(file, "data", H5T_STD_I32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    for (hsize_t i = 0; i < examples.size(); ++i) {
      const hsize_t start[] = {i, 0, 0};
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, chunk, nullptr);
      const hid_t memory = H5Screate_simple(3, chunk, nullptr);
      H5Dwrite(data, H5T_NATIVE_INT32, memory, space, H5P_DEFAULT, examples[i].data());
      H5Sclose(memory);
    }
    H5Dclose(data);
    H5Pclose(properties);
    H5Sclose(space);
    H5Fclose(file);
  }
};

// Tokens first, first + 1, ...: `length` inputs, masks, and the labels after them.
std::vector<int32_t> example(int32_t first, int32_t length, int32_t last_mask = 1) {
  std::vector<int32_t> numbers;
  for (int32_t i = 0; i < length; ++i) numbers.push_back(first + i);
  for (int32_t i = 0; i < length; ++i) numbers.push_back(i + 1 < length ? 1 : last_mask);
  for (int32_t i = 0; i < length; ++i) numbers.push_back(first + i + 1);
  return numbers;
}

class ConvertTest : public FolderTest {
 protected:
  std::string zoo(const std::string& name, const Zoo& zoo) const {
    zoo.write(path(name).string());
    return path(name).string();
  }
  ConvertReport convert(const std::vector<fs::path>& inputs) const {
    return convert_tokens(inputs, tokenizer_, path("out.h5"));
  }
  std::vector<int32_t> converted() const {
    const auto store = TokenStore::open(path("out.h5"), true);
    std::vector<int32_t> ids(store->tokens());
    store->read(0, ids);
    return ids;
  }
  std::string complaint(const std::string& file) const {
    fs::remove(path("out.h5"));
    const std::string said = message_of([&] { convert({file}); });
    EXPECT_FALSE(fs::exists(path("out.h5"))) << said;
    return said;
  }
  std::string llmc(const std::string& name, const std::vector<uint16_t>& ids) const {
    std::string bytes(1024, '\0');
    const int32_t header[] = {20240520, 1, static_cast<int32_t>(ids.size())};
    std::memcpy(bytes.data(), header, sizeof(header));
    bytes.append(reinterpret_cast<const char*>(ids.data()), ids.size() * 2);
    return write(name, bytes);
  }
  ByteTokens tokenizer_;
};

TEST_F(ConvertTest, DocumentsAreKept) {
  const ConvertReport report =
      convert({llmc("a.bin", {0, 1, 2, 3, 0, 0, 4, 5}), llmc("b.bin", {6, 7, 0})});
  EXPECT_EQ(converted(), (std::vector<int32_t>{1, 2, 3, 0, 4, 5, 0, 6, 7, 0}));
  EXPECT_EQ(report.store.documents, 3u);
  EXPECT_EQ(report.store.bytes, 7u);
  const auto store = TokenStore::open(path("out.h5"));
  EXPECT_EQ(store->info().tokenizer_hash, tokenizer_.hash());
  EXPECT_EQ(store->info().sources.size(), 2u);
  EXPECT_NE(complaint(llmc("c.bin", {1, 300})).find("token 1 of the file is 300"),
            std::string::npos);
}

TEST_F(ConvertTest, ExamplesBecomeRows) {
  Zoo packed;
  for (int32_t i = 0; i < 20; ++i) packed.examples.push_back(example(1 + 10 * i, 8));
  packed.examples.push_back(example(100, 8, 0));  // its last token is masked
  for (const bool chunked : {true, false}) {
    packed.chunked = chunked;
    const std::string file = zoo("zoo.h5", packed);
    EXPECT_TRUE(is_cerebras(file));
    const ConvertReport report = convert({file});
    EXPECT_EQ(report.left_out, 1u);
    EXPECT_EQ(report.store.documents, 20u);
    EXPECT_EQ(report.store.bytes, 180u);
  }
  const Sampler sampler({TokenStore::open(path("out.h5"))}, 8, 1);
  ASSERT_EQ(sampler.windows(), 20u);
  std::vector<int32_t> window(9);
  for (uint64_t i = 0; i < 20; ++i) {
    sampler.read(i, window);
    EXPECT_EQ(window[0] % 10, 1);
    EXPECT_EQ(window[8], window[0] + 8);
  }
  const std::string said = message_of([&] { Sampler({TokenStore::open(path("out.h5"))}, 9, 1); });
  EXPECT_NE(said.find("rows of 9 tokens"), std::string::npos) << said;
}

TEST_F(ConvertTest, OddExamplesAreNamed) {
  EXPECT_NE(complaint(zoo("a.h5", {{example(300, 8)}})).find("example 0 has the token 300"),
            std::string::npos);
  std::vector<int32_t> skips = example(1, 8);
  skips[18] = 77;  // a label that is not the next token
  EXPECT_NE(complaint(zoo("b.h5", {{skips}})).find("label 2 of example 0"), std::string::npos);
  EXPECT_NE(complaint(zoo("c.h5", {{example(1, 8, 0)}})).find("masked"), std::string::npos);
  Zoo five{{std::vector<int32_t>(40, 1)}};
  five.features = 5;
  EXPECT_NE(complaint(zoo("d.h5", five)).find("1 x 5 x 8"), std::string::npos);
  Zoo huge{{example(1, 8)}};
  huge.claimed = uint64_t{1} << 40;  // chunks that were never written read as zeros
  EXPECT_NE(complaint(zoo("e.h5", huge)).find("cannot hold"), std::string::npos);
  zoo("f.h5", {{example(1, 8)}});
  fs::resize_file(path("f.h5"), fs::file_size(path("f.h5")) / 2);
  EXPECT_THROW(convert({path("f.h5")}), UserError);
  const std::string tokens = llmc("g.bin", {1, 2, 3});
  EXPECT_THROW(convert({tokens, zoo("g.h5", {{example(1, 8)}})}), UserError);
  EXPECT_THROW(convert({zoo("h.h5", {{example(1, 8)}}), zoo("i.h5", {{example(1, 9)}})}),
               UserError);
}

TEST_F(ConvertTest, DamagedExamplesNeverCrash) {
  Zoo packed;
  for (int32_t i = 0; i < 3; ++i) packed.examples.push_back(example(1, 50));
  const std::string file = zoo("zoo.h5", packed);
  for (size_t at = 0; at < fs::file_size(file); at += 11) {
    flip_byte(file, at, 0x20);
    try {
      convert({file});
    } catch (const Error&) {
    }
    flip_byte(file, at, 0x20);
  }
}

TEST_F(ConvertTest, StatisticsOfLengths) {
  std::vector<uint64_t> lengths;
  for (uint64_t i = 100; i > 0; --i) lengths.push_back(i);
  const LengthStatistics statistics = length_statistics(lengths);
  EXPECT_EQ(statistics.count, 100u);
  EXPECT_EQ(statistics.mean(), 50.5);
  EXPECT_EQ(statistics.least, 1u);
  EXPECT_EQ(statistics.p10, 10u);
  EXPECT_EQ(statistics.median, 50u);
  EXPECT_EQ(statistics.p99, 99u);
  EXPECT_EQ(statistics.most, 100u);
  std::vector<uint64_t> one = {7}, none;
  EXPECT_EQ(length_statistics(one).p10, 7u);
  EXPECT_EQ(length_statistics(none).mean(), 0);
}

TEST_F(ConvertTest, StatisticsOfStoresAndTexts) {
  const auto store =
      TokenStore::open(llmc("a.bin", {0, 1, 2, 3, 0, 4, 0, 5, 6}), false, &tokenizer_);
  const StoreStatistics of_store = store_statistics(*store, 2, 2);
  EXPECT_EQ(of_store.tokens.count, 3u);
  EXPECT_EQ(of_store.tokens.total, 6u);
  ASSERT_EQ(of_store.examples.size(), 2u);
  EXPECT_EQ(of_store.examples[0].ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(of_store.examples[1].first_token, 5u);
  const Corpus corpus =
      Corpus::open({write("t.jsonl", "{\"text\": \"\u00e9\u00e9\u00e9\"}\n{\"text\": \"ab\"}\n")});
  const CorpusStatistics of_text = corpus_statistics(corpus, 5, 3);
  EXPECT_EQ(of_text.bytes.count, 2u);
  EXPECT_EQ(of_text.bytes.total, 8u);
  EXPECT_EQ(of_text.examples, (std::vector<std::string>{"\u00e9", "ab"}));
}

}  // namespace
}  // namespace isoflop
