#include "formats/safetensors.hpp"

#include "core/error.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace isoflop {
namespace {

class Safetensors : public FolderTest {
 protected:
  /// A file of that header and so many bytes of data.
  std::string file(const std::string& name, std::string header, size_t data) const {
    const uint64_t size = header.size();
    header.insert(0, reinterpret_cast<const char*>(&size), sizeof(size));
    return write(name, header + std::string(data, '\0'));
  }
  std::string error_of(const std::string& header, size_t data) const {
    return message_of([&] { SafetensorsFile(fs::path(file("bad.safetensors", header, data))); });
  }
};

std::vector<std::byte> bytes(const std::vector<float>& values) {
  std::vector<std::byte> result(values.size() * sizeof(float));
  std::memcpy(result.data(), values.data(), result.size());
  return result;
}

TEST_F(Safetensors, WhatIsWrittenIsRead) {
  const fs::path at = path("m.safetensors");
  SafetensorsWriter writer(at, DType::f32, {{"b", {2, 2}}, {"a \"quoted\"", {3}}});
  EXPECT_FALSE(fs::exists(at)) << "half a file under its name";
  writer.write(bytes({1, 2, 3}));  // pieces may end anywhere
  writer.write(bytes({4, 5, 6, 7}));
  writer.finish();
  const SafetensorsFile read(at);
  ASSERT_EQ(read.tensors().size(), 2u);
  EXPECT_EQ(read.tensors()[0].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(read.metadata().at("format"), "pt");
  std::vector<float> values(2);
  read.find("b")->values(2, values);
  EXPECT_EQ(values, (std::vector<float>{3, 4}));
  read.find("a \"quoted\"")->values(1, values);
  EXPECT_EQ(values, (std::vector<float>{6, 7}));
  EXPECT_EQ(read.find("c"), nullptr);
  // Eight bytes of length, a header padded to eight: the data begins aligned.
  EXPECT_EQ((fs::file_size(at) - 28) % 8, 0u);
}

TEST_F(Safetensors, HalfFloatsAreReadAsFloats) {
  for (const DType dtype : {DType::f16, DType::bf16}) {
    SafetensorsWriter writer(path("h.safetensors"), dtype, {{"x", {2}}});
    const uint16_t bits[2] = {dtype == DType::f16 ? to_f16(1.5f).bits : to_bf16(1.5f).bits,
                              dtype == DType::f16 ? to_f16(-3).bits : to_bf16(-3).bits};
    writer.write(std::as_bytes(std::span(bits)));
    writer.finish();
    const SafetensorsFile read(path("h.safetensors"));
    std::vector<float> values(2);
    read.find("x")->values(0, values);
    EXPECT_EQ(values, (std::vector<float>{1.5f, -3}));
    EXPECT_EQ(read.find("x")->type, safetensors_name(dtype));
  }
}

TEST_F(Safetensors, AnUnfinishedFileLeavesNothing) {
  { SafetensorsWriter writer(path("m.safetensors"), DType::f32, {{"a", {4}}}); }
  EXPECT_TRUE(fs::is_empty(path("")));
  EXPECT_THROW(SafetensorsWriter(path("m.safetensors"), DType::f32, {{"a", {4}}, {"a", {4}}}),
               UserError);
  EXPECT_TRUE(fs::is_empty(path("")));
}

// The rest of what must be refused is in tests/fuzz/safetensors_fuzz.cpp.
TEST_F(Safetensors, MessagesNameFileTensorAndField) {
  const auto names = [&](const std::string& header, size_t data, const std::string& part) {
    const std::string error = error_of(header, data);
    EXPECT_NE(error.find("bad.safetensors: "), error.npos) << error;
    EXPECT_NE(error.find(part), error.npos) << error;
  };
  names(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4,
        "tensor w has 4 bytes of data, its dtype and shape ask for 8");
  names(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 12,
        "12 bytes of data, but the tensors end at 8");
  names(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
        "tensor w begins at byte 4 of the data, the one before it ends at 0");
  names(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,99]}})", 8,
        "tensor w lies at bytes 0 to 99 of 8");
  names(R"({"w":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}})", 8, "unknown type \"Q4\"");
  names(R"({"w":1})", 0, "w is a number, which has no place there");
  names(R"({"w":{"dtype":"F32","shape":[2]},"w":{}})", 0, "tensor w has no data_offsets");
  names(R"({"w":{"dtype":"F32",)", 0, "not valid JSON at byte");
  EXPECT_NE(message_of([&] {
              SafetensorsFile(fs::path(write("bad.safetensors", std::string(8, '\x7f'))));
            }).find("a header of 9187201950435737471 bytes in a file of 8"),
            std::string::npos);
}

class SafetensorsShards : public Safetensors {
 protected:
  static std::string header(const std::string& name) {
    return "{\"" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  }
  std::string error_of_folder(const std::string& index) const {
    write(std::string(kSafetensorsIndex), index);
    return message_of([&] { SafetensorsFolder(path("")); });
  }
};

TEST_F(SafetensorsShards, AreCutBySizeAndReadByTheirIndex) {
  const auto shards = cut_into_shards({{"a", {2}}, {"b", {2}}, {"c", {9}}}, DType::f32, 16);
  ASSERT_EQ(shards.size(), 2u);
  EXPECT_EQ(shards[0].size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    SafetensorsWriter writer(path(shard_name(i, 2)), DType::f32, shards[i]);
    writer.write(bytes(i == 0 ? std::vector<float>{1, 2, 3, 4} : std::vector<float>(9, 5)));
    writer.finish();
  }
  write(std::string(kSafetensorsIndex), safetensors_index(shards, DType::f32));
  const SafetensorsFolder folder(path(""));
  EXPECT_EQ(folder.files().size(), 2u);
  EXPECT_EQ(folder.tensor_count(), 3u);
  std::vector<float> values(2);
  folder.find("b")->values(0, values);
  EXPECT_EQ(values, (std::vector<float>{3, 4}));
  EXPECT_EQ(shard_name(0, 1), kSafetensorsSingle);
  EXPECT_EQ(shard_name(0, 2), "model-00001-of-00002.safetensors");
}

TEST_F(SafetensorsShards, AFolderMustBeWhatItsIndexSays) {
  file("1.safetensors", header("a"), 4);
  file("2.safetensors", header("b"), 4);
  const std::string one = R"({"weight_map":{"a":"1.safetensors")";
  EXPECT_EQ(error_of_folder(one + R"(,"b":"2.safetensors"}})"), "(nothing was thrown)");
  const auto refused = [&](const std::string& rest, const std::string& part) {
    const std::string error = error_of_folder(one + rest);
    EXPECT_NE(error.find(part), error.npos) << error;
  };
  refused(R"(,"b":"1.safetensors"}})", "tensor b is not in 1.safetensors");
  refused(R"(,"x":"2.safetensors"}})", "tensor b is in 2.safetensors, but the index says nothing");
  refused(R"(,"b":"3.safetensors"}})", "3.safetensors");
  refused(R"(,"b":"../2.safetensors"}})", "only plain names");
  fs::remove(path(std::string(kSafetensorsIndex)));
  write("pytorch_model.bin", "");
  EXPECT_NE(message_of([&] { SafetensorsFolder(path("")); }).find("pytorch_model.bin is a Python"),
            std::string::npos);
}

}  // namespace
}  // namespace isoflop
