// llama2.c model files, written here byte by byte from their description.
#include "formats/llama2c.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"
#include "tests/support/shared_data.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

namespace isoflop {
namespace {

using T = Llama2cTensor;
using Bytes = std::vector<std::byte>;

void put_i32(Bytes& bytes, int32_t value) {
  const size_t at = bytes.size();
  bytes.resize(at + 4);
  std::memcpy(bytes.data() + at, &value, 4);
}

/// `count` floats, each the number of its tensor, so that a wrong offset shows.
void put_tensor(Bytes& bytes, int64_t count, float value) {
  const size_t at = bytes.size();
  bytes.resize(at + static_cast<size_t>(count) * 4);
  for (int64_t i = 0; i < count; ++i)
    std::memcpy(bytes.data() + at + static_cast<size_t>(i) * 4, &value, 4);
}

constexpr int32_t kDim = 8, kHidden = 12, kLayers = 2, kHeads = 4, kKvHeads = 2, kRows = 10,
                  kContext = 6;
constexpr int64_t kSquare = kDim * kDim, kKv = kDim * kDim / 2, kWide = kDim * kHidden;

Bytes version0(bool shared) {
  Bytes bytes;
  for (const int32_t n :
       {kDim, kHidden, kLayers, kHeads, kKvHeads, shared ? kRows : -kRows, kContext})
    put_i32(bytes, n);
  put_tensor(bytes, kRows * kDim, 100);
  const std::pair<int64_t, float> kinds[] = {{kDim, 200},  {kSquare, 300}, {kKv, 400},
                                             {kKv, 500},   {kSquare, 600}, {kDim, 700},
                                             {kWide, 800}, {kWide, 900},   {kWide, 1000}};
  for (const auto& [count, value] : kinds)
    for (int layer = 0; layer < kLayers; ++layer)
      put_tensor(bytes, count, value + static_cast<float>(layer));
  put_tensor(bytes, kDim, 1100);
  put_tensor(bytes, kContext * (kDim / kHeads), -1);  // rotations, cosines then sines
  if (!shared) put_tensor(bytes, kRows * kDim, 1200);
  return bytes;
}

Bytes version1(bool shared) {
  Bytes bytes;
  put_i32(bytes, 0x616b3432);
  put_i32(bytes, 1);
  for (const int32_t n : {kDim, kHidden, kLayers, kHeads, kKvHeads, kRows, kContext})
    put_i32(bytes, n);
  bytes.push_back(static_cast<std::byte>(shared));
  bytes.resize(256);
  const auto layers = [&](int64_t count, float value) {
    for (int layer = 0; layer < kLayers; ++layer)
      put_tensor(bytes, count, value + static_cast<float>(layer));
  };
  layers(kDim, 200);
  layers(kDim, 700);
  put_tensor(bytes, kDim, 1100);
  put_tensor(bytes, kRows * kDim, 100);
  layers(kSquare, 300);
  layers(kKv, 400);
  layers(kKv, 500);
  layers(kSquare, 600);
  layers(kWide, 800);
  layers(kWide, 900);
  layers(kWide, 1000);
  if (!shared) put_tensor(bytes, kRows * kDim, 1200);
  return bytes;
}

float first_and_last(const Llama2cFile& file, T kind, int64_t layer, int64_t count) {
  const auto bytes = file.tensor(kind, layer);
  EXPECT_EQ(bytes.size(), static_cast<size_t>(count) * 4);
  float first, last;
  std::memcpy(&first, bytes.data(), 4);
  std::memcpy(&last, bytes.data() + bytes.size() - 4, 4);
  EXPECT_EQ(first, last);
  return first;
}

TEST(Llama2c, FindsEveryTensorInBothVersions) {
  for (const bool shared : {true, false})
    for (const auto& make : {version0, version1}) {
      const Bytes bytes = make(shared);
      const Llama2cFile file(bytes, "test");
      EXPECT_EQ(file.dim, kDim);
      EXPECT_EQ(file.kv_heads, kKvHeads);
      EXPECT_EQ(file.vocabulary, kRows);
      EXPECT_EQ(file.context, kContext);
      EXPECT_EQ(file.shared_head, shared);
      EXPECT_EQ(first_and_last(file, T::embedding, 0, kRows * kDim), 100);
      EXPECT_EQ(first_and_last(file, T::norm, 0, kDim), 1100);
      for (int layer = 0; layer < kLayers; ++layer) {
        EXPECT_EQ(first_and_last(file, T::norm1, layer, kDim), 200 + layer);
        EXPECT_EQ(first_and_last(file, T::q, layer, kSquare), 300 + layer);
        EXPECT_EQ(first_and_last(file, T::k, layer, kKv), 400 + layer);
        EXPECT_EQ(first_and_last(file, T::v, layer, kKv), 500 + layer);
        EXPECT_EQ(first_and_last(file, T::out, layer, kSquare), 600 + layer);
        EXPECT_EQ(first_and_last(file, T::norm2, layer, kDim), 700 + layer);
        EXPECT_EQ(first_and_last(file, T::gate, layer, kWide), 800 + layer);
        EXPECT_EQ(first_and_last(file, T::down, layer, kWide), 900 + layer);
        EXPECT_EQ(first_and_last(file, T::up, layer, kWide), 1000 + layer);
      }
      if (!shared) {
        EXPECT_EQ(first_and_last(file, T::head, 0, kRows * kDim), 1200);
      }
    }
}

std::string error_of(const Bytes& bytes) {
  try {
    const Llama2cFile file(bytes, "test");
    return "";
  } catch (const FormatError& e) {
    return e.what();
  }
}

TEST(Llama2c, RefusesWhatDoesNotFit) {
  for (const auto& make : {version0, version1}) {
    const Bytes good = make(true);
    Bytes longer = good, shorter = good;
    longer.push_back(std::byte{0});
    shorter.pop_back();
    EXPECT_NE(error_of(longer).find("the header asks for"), std::string::npos);
    EXPECT_NE(error_of(shorter).find("the header asks for"), std::string::npos);
    EXPECT_NE(error_of(Bytes(good.begin(), good.begin() + 20)).find("too few"), std::string::npos);
  }
  Bytes odd = version1(true);
  odd[4] = std::byte{2};
  EXPECT_NE(error_of(odd).find("version 2"), std::string::npos);
  Bytes uneven = version0(true);
  uneven[12] = std::byte{3};  // heads
  EXPECT_NE(error_of(uneven).find("do not divide"), std::string::npos);
}

// Any header whatever: an error, never a crash, a hang or a large allocation.
TEST(Llama2c, TenThousandDamagedHeaders) {
  int refused = 0;
  for (uint64_t i = 0; i < 10000; ++i) {
    Bytes bytes = i % 2 ? version0(i % 4 == 1) : version1(i % 4 == 0);
    const auto draw = philox(3, 0, i);
    for (uint32_t k = 0; k <= draw[0] % 3; ++k)
      bytes[philox(4, k, i)[0] % 37] = static_cast<std::byte>(philox(5, k, i)[0]);
    if (draw[1] % 8 == 0) bytes.resize(draw[2] % bytes.size());
    refused += !error_of(bytes).empty();
  }
  EXPECT_GT(refused, 8000) << "most changes make another size";
}

TEST(Llama2c, ReadsAPublishedModel) {
  const auto path = test::shared_data("model/stories260K/stories260K.bin");
  if (!path) GTEST_SKIP() << test::missing_shared_data("model/stories260K/stories260K.bin");
  const Llama2cFile file(*path);
  EXPECT_EQ(file.dim, 64);
  EXPECT_EQ(file.layers, 5);
  EXPECT_EQ(file.heads, 8);
  EXPECT_EQ(file.kv_heads, 4);
  EXPECT_EQ(file.vocabulary, 512);
  EXPECT_TRUE(file.shared_head);
  EXPECT_TRUE(Llama2cFile::looks_like_llama2c(*path));
}

}  // namespace
}  // namespace isoflop
