#include "core/buffer.hpp"

#include "core/param.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace isoflop {
namespace {

TEST(AllocateHost, IsZeroedAndAligned) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{5'000'001}}) {
    const Buffer buffer = allocate_host(bytes, "a test");
    EXPECT_EQ(buffer.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kAlignment, 0u);
    for (size_t i = 0; i < bytes; ++i) ASSERT_EQ(buffer.data()[i], std::byte{0});
  }
}

TEST(AllocateHost, SaysWhatDidNotFit) {
  constexpr size_t kMost = std::numeric_limits<size_t>::max();
  // The first three wrap when rounded up to a page.
  for (const size_t bytes : {kMost / 2 + 2, kMost - 1, kMost, kMost / 4}) {
    try {
      allocate_host(bytes, "the logits");
      ADD_FAILURE() << bytes << " bytes granted";
    } catch (const IoError& e) {
      EXPECT_NE(std::string(e.what()).find("the logits"), std::string::npos);
    }
  }
}

TEST(Buffer, ReleasesOnceHoweverItMoves) {
  int released = 0;
  int thing = 0;
  {
    Buffer a(&thing, sizeof(thing), [&](void* p) { released += p == &thing; });
    Buffer b = std::move(a);
    Buffer c;
    c = std::move(b);
    EXPECT_EQ(c.bytes(), sizeof(thing));
    EXPECT_EQ(released, 0);
  }
  EXPECT_EQ(released, 1);
}

TEST(Arena, PiecesAreAlignedAndDoNotOverlap) {
  const Buffer memory = allocate_host(4096, "an arena");
  Arena arena(memory.data(), memory.bytes());
  const View a = arena.take(DType::f32, 3, 5), b = arena.take(DType::bf16, 1, 7);
  const View c = arena.take(DType::c128, 2, 2);
  const auto at = [&](View v) { return static_cast<std::byte*>(v.data) - memory.data(); };
  EXPECT_EQ(at(a), 0);
  EXPECT_EQ(at(b), 64);
  EXPECT_EQ(at(c), 128);
  EXPECT_EQ(arena.used(), 192u);
  EXPECT_EQ(a.rows, 3);
  EXPECT_EQ(a.stride, 5);
}

TEST(Arena, ScopeReturnsWhatItTook) {
  const Buffer memory = allocate_host(1024, "an arena");
  Arena arena(memory.data(), memory.bytes());
  arena.take(DType::u8, 1, 100);
  void* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    Arena::Scope scope(arena);
    const View v = arena.take(DType::u8, 1, 600);
    if (i == 0) first = v.data;
    EXPECT_EQ(v.data, first);
  }
  EXPECT_EQ(arena.used(), 128u);
  EXPECT_EQ(arena.high_water(), 128u + 640u);
}

TEST(Arena, RefusesMoreThanItHas) {
  const Buffer memory = allocate_host(256, "an arena");
  Arena arena(memory.data(), memory.bytes());
  EXPECT_NO_THROW(arena.take(DType::u8, 1, 256));
  EXPECT_THROW(arena.take(DType::u8, 1, 1), std::logic_error);
  EXPECT_EQ(arena.used(), 256u);
}

TEST(Arena, MeasuresWithoutMemory) {
  Arena plan;
  {
    Arena::Scope scope(plan);
    EXPECT_FALSE(plan.take(DType::f32, 1000, 1000));
  }
  plan.take(DType::f32, 1, 1);
  EXPECT_EQ(plan.high_water(), 4'000'000u);
  EXPECT_EQ(plan.used(), 64u);
}

ParamTable table() {
  ParamTable table(3);
  table[0].name = "a";
  table[0].rows = 3;
  table[0].cols = 7;
  table[1].name = "b";
  table[1].cols = 1;
  table[2].name = "c";
  table[2].rows = 2;
  table[2].cols = 16;
  return table;
}

TEST(ParamBuffer, LaysTensorsOutOneAfterAnother) {
  const ParamBuffer buffer(table(), DType::f32, "masters");
  ASSERT_EQ(buffer.count(), 3u);
  EXPECT_EQ(buffer.bytes(), 128u + 64u + 128u);
  EXPECT_EQ(buffer.bytes(), ParamBuffer::bytes_for(table(), DType::f32));
  EXPECT_EQ(buffer.flat().bytes(), buffer.bytes());
  const float* base = buffer.flat().as<float>();
  EXPECT_EQ(buffer[0].as<float>() - base, 0);
  EXPECT_EQ(buffer[1].as<float>() - base, 32);
  EXPECT_EQ(buffer[2].as<float>() - base, 48);
  EXPECT_EQ(buffer[2].rows, 2);
  EXPECT_EQ(buffer[2].cols, 16);
  EXPECT_TRUE(buffer[2].contiguous());
}

TEST(ParamTable, CountsAndFinds) {
  EXPECT_EQ(parameter_count(table()), 21 + 1 + 32);
  EXPECT_EQ(find_param(table(), "c"), 2);
  EXPECT_EQ(find_param(table(), "d"), -1);
}

}  // namespace
}  // namespace isoflop
