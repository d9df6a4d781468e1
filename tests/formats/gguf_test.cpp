// GGUF files: round trips, a real one, and hostile ones.
#include "formats/gguf.hpp"

#include "core/error.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

namespace isoflop {
namespace {

class Gguf : public ::testing::Test {
 protected:
  test::TempDir temporary_;
  fs::path folder_ = temporary_.path();
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

/// A file with every kind of value the writer knows and three tensors.
fs::path write_example(const fs::path& path) {
  GgufWriter writer(path);
  writer.put_text("general.architecture", "gpt2");
  writer.put_u32("gpt2.context_length", 64);
  writer.put_f32("gpt2.attention.layer_norm_epsilon", 1e-5f);
  writer.put_boolean("tokenizer.ggml.add_bos_token", false);
  writer.put_texts("tokenizer.ggml.tokens", {"a", "", "a long one"});
  writer.put_i32s("tokenizer.ggml.token_type", {1, -3, 5});
  writer.put_texts("tokenizer.ggml.merges", {});
  writer.add_tensor("norm.weight", {3}, BlockType::f32);
  writer.add_tensor("embedding.weight", {32, 2}, BlockType::q8_0);
  writer.add_tensor("cube", {2, 3, 2}, BlockType::f16);
  const std::string norm(12, 'n'), embedding(68, 'e'), cube(24, 'c');
  writer.write("norm.weight", bytes_of(norm));
  writer.write("embedding.weight", bytes_of(embedding).first(30));
  writer.write("embedding.weight", bytes_of(embedding).subspan(30));
  writer.write("cube", bytes_of(cube));
  const uint64_t bytes = writer.finish();
  EXPECT_EQ(bytes, fs::file_size(path));
  return path;
}

std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

/// Small files by hand, to say what the writer refuses to.
struct Raw {
  std::string bytes;
  template <class T>
  Raw& add(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Raw& text(const std::string& value) {
    add(uint64_t{value.size()});
    bytes += value;
    return *this;
  }
  Raw& header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    bytes += "GGUF";
    return add(version).add(tensors).add(keys);
  }
  Raw& tensor(const std::string& name, std::vector<int64_t> dims, uint32_t type, uint64_t offset) {
    text(name).add(static_cast<uint32_t>(dims.size()));
    for (const int64_t dim : dims) add(dim);
    return add(type).add(offset);
  }
  Raw& pad(size_t alignment = 32) {
    bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  Raw& data(size_t count) {
    bytes.resize(bytes.size() + count);
    return *this;
  }
  std::string error() const {
    return message_of([&] { GgufFile file(bytes_of(bytes), "raw.gguf"); });
  }
};

TEST_F(Gguf, RoundTrip) {
  const GgufFile file(write_example(folder_ / "x.gguf"));
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.text("general.architecture"), "gpt2");
  EXPECT_EQ(file.u32("gpt2.context_length"), 64u);
  EXPECT_EQ(file.f32("gpt2.attention.layer_norm_epsilon"), 1e-5f);
  EXPECT_FALSE(file.boolean("tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens"),
            (std::vector<std::string_view>{"a", "", "a long one"}));
  EXPECT_EQ(file.i32s("tokenizer.ggml.token_type"), (std::vector<int32_t>{1, -3, 5}));
  EXPECT_TRUE(file.texts("tokenizer.ggml.merges").empty());
  EXPECT_EQ(file.keys().size(), 7u);
  EXPECT_EQ(file.keys()[1], "gpt2.context_length");

  ASSERT_EQ(file.tensors().size(), 3u);
  const GgufTensor* embedding = file.find_tensor("embedding.weight");
  ASSERT_TRUE(embedding);
  EXPECT_EQ(embedding->codec->name, "Q8_0");
  EXPECT_EQ(embedding->dims, (std::vector<int64_t>{32, 2}));
  EXPECT_EQ(
      std::string(reinterpret_cast<const char*>(embedding->data.data()), embedding->data.size()),
      std::string(68, 'e'));
  const GgufTensor* cube = file.find_tensor("cube");
  EXPECT_EQ(cube->rows(), 6);
  EXPECT_EQ(cube->cols(), 2);
  EXPECT_EQ(static_cast<char>(cube->data.front()), 'c');
  EXPECT_EQ(static_cast<char>(file.find_tensor("norm.weight")->data.back()), 'n');
  EXPECT_EQ(file.find_tensor("absent"), nullptr);
  EXPECT_TRUE(GgufFile::looks_like_gguf(folder_ / "x.gguf"));
  EXPECT_FALSE(GgufFile::looks_like_gguf(folder_));
}

TEST_F(Gguf, KeysSayWhatIsWrong) {
  const GgufFile file(write_example(folder_ / "x.gguf"));
  const std::string missing = message_of([&] { file.u32("gpt2.block_count"); });
  EXPECT_NE(missing.find("x.gguf"), missing.npos);
  EXPECT_NE(missing.find("gpt2.block_count is missing"), missing.npos);
  const std::string mistyped = message_of([&] { file.f32("gpt2.context_length"); });
  EXPECT_NE(mistyped.find("gpt2.context_length is u32, expected f32"), mistyped.npos) << mistyped;
  EXPECT_EQ(file.find_u32("gpt2.block_count"), std::nullopt);
  EXPECT_EQ(file.find_u32("gpt2.context_length"), 64u);
  EXPECT_THROW(file.find_u32("general.architecture"), UserError);
  EXPECT_THROW(file.text("tokenizer.ggml.tokens"), UserError);
}

TEST_F(Gguf, ReadsARealVocabularyFile) {
  const auto path = test::shared_data("ref/llama.cpp/ggml-vocab-gpt-2.gguf");
  if (!path) GTEST_SKIP() << test::missing_shared_data("ref/llama.cpp/ggml-vocab-gpt-2.gguf");
  const GgufFile file(*path);
  EXPECT_EQ(file.text("general.architecture"), "gpt2");
  EXPECT_EQ(file.text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens").size(), 50257u);
  EXPECT_EQ(file.texts("tokenizer.ggml.merges").size(), 50000u);
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens")[50256], "<|endoftext|>");
  EXPECT_EQ(file.i32s("tokenizer.ggml.token_type").size(), 50257u);
  EXPECT_EQ(file.u32("tokenizer.ggml.bos_token_id"), 50256u);
  EXPECT_TRUE(file.tensors().empty());
}

TEST_F(Gguf, TruncatedAnywhereIsAnErrorOrOnlyMissesPadding) {
  const std::string whole = read_file(write_example(folder_ / "x.gguf"));
  const size_t needed = whole.size() - 8;  // the last tensor has 24 bytes of its 32
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of exactly that size, so that a read past its end is one past an allocation.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    const auto parse = [&] { GgufFile file(std::as_bytes(std::span(cut)), "cut.gguf"); };
    if (size < needed)
      EXPECT_THROW(parse(), FormatError) << size;
    else
      EXPECT_NO_THROW(parse()) << size;
  }
}

TEST_F(Gguf, AnyByteChangedIsAnErrorOrAValidFile) {
  const std::string whole = read_file(write_example(folder_ / "x.gguf"));
  int refused = 0;
  for (size_t at = 0; at < whole.size() - 160; ++at)
    for (const int flip : {0x01, 0x02, 0x08, 0x20, 0x40, 0x80, 0xff}) {
      std::vector<char> changed(whole.begin(), whole.end());
      changed[at] = static_cast<char>(changed[at] ^ flip);
      try {
        const GgufFile file(std::as_bytes(std::span(changed)), "changed.gguf");
        size_t sum = 0;  // touch all that the parse promises
        for (const GgufTensor& tensor : file.tensors())
          for (const std::byte b : tensor.data) sum += static_cast<size_t>(b);
        for (const auto key : file.keys())
          if (const GgufValue* v = file.find(key); v->type == GgufType::text && v->is_array)
            for (const auto text : file.texts(key)) sum += text.size();
        EXPECT_GT(sum, 0u);
      } catch (const FormatError&) {
        ++refused;
      }
    }
  EXPECT_GT(refused, 500);
}

TEST_F(Gguf, RefusesHostileCountsAndSizes) {
  constexpr uint64_t kHuge = uint64_t{1} << 62;
  const auto expect = [](const Raw& raw, const char* part) {
    const std::string error = raw.error();
    EXPECT_NE(error.find(part), error.npos) << error;
    EXPECT_NE(error.find("raw.gguf"), error.npos) << error;
    EXPECT_NE(error.find("at byte"), error.npos) << error;
  };
  expect(Raw{"GGML"}, "does not start with GGUF");
  expect(Raw{}.header(0, 0, 1), "version 1");
  expect(Raw{}.header(0, 0, 4), "version 4");
  expect(Raw{}.header(0, 0, 0x03000000), "byte order");
  expect(Raw{}.header(0, kHuge), "key count");
  expect(Raw{}.header(kHuge, 0), "tensor count");
  expect(Raw{}.header(~uint64_t{0}, ~uint64_t{0}), "key count");
  expect(Raw{}.header(0, 1).add(~uint64_t{0}).data(64), "length");
  expect(Raw{}.header(0, 1).add(uint64_t{0}).add(4u).add(1u), "empty name");
  expect(Raw{}.header(0, 1).text("k").add(13u).data(64), "unknown value type");
  expect(Raw{}.header(0, 1).text("k").add(9u).add(9u).add(uint64_t{1}).data(64), "array of arrays");
  expect(Raw{}.header(0, 1).text("k").add(9u).add(10u).add(kHuge).data(64), "elements");
  expect(Raw{}.header(0, 1).text("k").add(9u).add(10u).add(uint64_t{9}).data(64), "needs 72 bytes");
  expect(Raw{}.header(0, 1).text("k").add(7u).add(uint8_t{2}), "for a bool");
  expect(Raw{}.header(0, 2).text("k").add(4u).add(1u).text("k").add(4u).add(1u), "appears twice");

  const std::string align = "general.alignment";
  expect(Raw{}.header(0, 1).text(align).add(4u).add(48u), "power of two");
  expect(Raw{}.header(0, 1).text(align).add(4u).add(0u), "power of two");
  expect(Raw{}.header(0, 1).text(align).add(4u).add(1u << 31), "power of two");
  expect(Raw{}.header(0, 1).text(align).add(10u).add(uint64_t{32}), "must be a u32");

  expect(Raw{}.header(1, 0).tensor(std::string(64, 'n'), {1}, 0, 0), "64 bytes");
  expect(Raw{}.header(1, 0).tensor("t", {}, 0, 0).data(32), "0 dimensions");
  expect(Raw{}.header(1, 0).tensor("t", {1, 1, 1, 1, 1}, 0, 0), "5 dimensions");
  expect(Raw{}.header(1, 0).tensor("t", {0}, 0, 0), "dimension of 0");
  expect(Raw{}.header(1, 0).tensor("t", {-1}, 0, 0), "dimension of -1");
  expect(Raw{}.header(1, 0).tensor("t", {int64_t{1} << 40, int64_t{1} << 40}, 0, 0), "overflows");
  expect(Raw{}.header(1, 0).tensor("t", {int64_t{1} << 62}, 0, 0), "overflows");
  expect(Raw{}.header(1, 0).tensor("t", {(int64_t{1} << 60) + 1}, 0, 0), "ends at byte");
  expect(Raw{}.header(1, 0).tensor("t", {1}, 5, 0).pad().data(4), "unknown type 5");
  expect(Raw{}.header(1, 0).tensor("t", {48}, 8, 0).pad().data(51), "multiple of Q8_0's block");
  expect(Raw{}.header(1, 0).tensor("t", {1}, 0, 32).pad().data(36), "lies at offset 32, not 0");
  expect(Raw{}.header(1, 0).tensor("t", {2}, 0, 0).pad().data(7), "ends at byte");
  expect(Raw{}.header(2, 0).tensor("t", {1}, 0, 0).tensor("u", {1}, 0, 64).pad().data(68),
         "lies at offset 64, not 32");
  expect(Raw{}.header(2, 0).tensor("t", {1}, 0, 0).tensor("t", {1}, 0, 32).pad().data(36),
         "appears twice");
}

TEST_F(Gguf, AcceptsWhatTheRuntimeAccepts) {
  EXPECT_EQ(Raw{}.header(0, 0, 2).error(), "no error");  // version 2
  for (const uint32_t alignment : {1u, 8u, 64u, 4096u})
    EXPECT_EQ(Raw{}
                  .header(2, 1)
                  .text("general.alignment")
                  .add(4u)
                  .add(alignment)
                  .tensor("t", {1}, 0, 0)
                  .tensor("u", {1}, 0, alignment < 4 ? 4 : alignment)
                  .pad(alignment)
                  .data(4)
                  .pad(alignment)
                  .data(4)
                  .error(),
              "no error")
        << alignment;
}

TEST_F(Gguf, WriterRefusesWhatALoaderWould) {
  GgufWriter writer(folder_ / "x.gguf");
  writer.put_u32("k", 1);
  EXPECT_THROW(writer.put_f32("k", 1), UserError);
  EXPECT_THROW(writer.put_u32("", 1), UserError);
  writer.add_tensor(std::string(63, 'n'), {1}, BlockType::f32);
  EXPECT_THROW(writer.add_tensor(std::string(64, 'n'), {1}, BlockType::f32), UserError);
  EXPECT_THROW(writer.add_tensor(std::string(63, 'n'), {1}, BlockType::f32), UserError);
  EXPECT_THROW(writer.add_tensor("t", {48}, BlockType::q4_0), UserError);
  EXPECT_THROW(writer.add_tensor("t2", {}, BlockType::f32), UserError);
  EXPECT_THROW(writer.add_tensor("t3", {32, 0}, BlockType::q4_0), UserError);
  EXPECT_THROW(writer.add_tensor("t4", {int64_t{1} << 62, 32}, BlockType::f32), UserError);
}

TEST_F(Gguf, UnfinishedWriterLeavesNothing) {
  {
    GgufWriter writer(folder_ / "x.gguf");
    writer.add_tensor("t", {4}, BlockType::f32);
    writer.write("t", bytes_of("12345678"));
    EXPECT_THROW(writer.write("u", bytes_of("1")), std::logic_error);
    EXPECT_THROW(writer.write("t", bytes_of("123456789")), std::logic_error);
    EXPECT_THROW(writer.finish(), std::logic_error);
  }
  EXPECT_TRUE(fs::is_empty(folder_));
  EXPECT_THROW(GgufWriter(folder_ / "absent" / "x.gguf"), IoError);
}

}  // namespace
}  // namespace isoflop
