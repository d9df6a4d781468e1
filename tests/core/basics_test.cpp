// View, integer arithmetic, errors and hashes.
#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/math.hpp"
#include "core/view.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

TEST(View, SlicesOfRowsAndColumns) {
  float data[12];
  for (int i = 0; i < 12; ++i) data[i] = static_cast<float>(i);
  const View v = make_view(data, 3, 4);
  EXPECT_EQ(v.row<float>(2)[1], 9);
  const View middle = v.columns(1, 2).slice(1, 2);
  EXPECT_EQ(middle.rows, 2);
  EXPECT_EQ(middle.cols, 2);
  EXPECT_EQ(middle.row<float>(0)[0], 5);
  EXPECT_EQ(middle.row<float>(1)[1], 10);
  EXPECT_FALSE(middle.contiguous());
  EXPECT_TRUE(v.slice(1, 2).contiguous());
  EXPECT_EQ(v.bytes(), sizeof(data));
}

TEST(View, RefusesWhatIsOutside) {
  float data[12];
  const View v = make_view(data, 3, 4);
  EXPECT_THROW(v.columns(3, 2), std::logic_error);
  EXPECT_THROW(v.columns(-1, 2), std::logic_error);
  EXPECT_THROW(v.slice(2, 2), std::logic_error);
  EXPECT_THROW(v.slice(0, -1), std::logic_error);
  EXPECT_THROW(v.as<double>(), std::logic_error);
}

TEST(Math, DivisionAndRounding) {
  EXPECT_EQ(div_ceil(7, 3), 3);
  EXPECT_EQ(div_ceil(6, 3), 2);
  EXPECT_EQ(div_ceil(0, 3), 0);
  EXPECT_EQ(round_up(65, 64), 128);
  EXPECT_EQ(div_exact(6, 3), 2);
  EXPECT_THROW(div_exact(7, 3), std::logic_error);
  EXPECT_THROW(div_exact(7, 0), std::logic_error);
}

TEST(Math, NarrowRefusesToTruncate) {
  EXPECT_EQ(narrow<int>(int64_t{-5}), -5);
  EXPECT_EQ(narrow<uint16_t>(65535), 65535);
  EXPECT_THROW(narrow<uint16_t>(65536), std::logic_error);
  EXPECT_THROW(narrow<uint32_t>(-1), std::logic_error);
  EXPECT_THROW(narrow<int32_t>(uint32_t{0x80000000u}), std::logic_error);
  EXPECT_THROW(narrow<int64_t>(~uint64_t{0}), std::logic_error);
}

TEST(Math, CheckedArithmetic) {
  uint64_t out = 0;
  EXPECT_TRUE(checked_multiply(uint64_t{1} << 32, (uint64_t{1} << 32) - 1, out));
  EXPECT_FALSE(checked_multiply(uint64_t{1} << 32, uint64_t{1} << 32, out));
  EXPECT_TRUE(checked_add(~uint64_t{0}, 0, out));
  EXPECT_FALSE(checked_add(~uint64_t{0}, 1, out));
}

TEST(Error, CarriesExitCodeAndText) {
  try {
    fail_format("{}: field {} at offset {}", "x.h5", "n", 12);
    FAIL() << "no exception";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::kUser);
    EXPECT_STREQ(e.what(), "x.h5: field n at offset 12");
  }
  EXPECT_THROW(fail_io("disk"), IoError);
  EXPECT_THROW(fail_user("flag"), UserError);
}

TEST(Error, CheckNamesConditionAndPlace) {
  const int two = 2;
  EXPECT_NO_THROW(ISOFLOP_CHECK(two == 2, "two"));
  try {
    ISOFLOP_CHECK(two == 3, "two is {}", two);
    FAIL() << "no exception";
  } catch (const std::logic_error& e) {
    const std::string text = e.what();
    for (const char* part : {"two is 2", "two == 3", "basics_test.cpp"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

// XXH3's own value for the empty input, so that hashes in files mean what other tools compute.
TEST(Hash, IsXxh3) {
  EXPECT_EQ(hash_hex(hash_text("")), "2d06800538d394c2");
  EXPECT_EQ(hash_hex(1), "0000000000000001");
}

TEST(Hash, PiecesEqualTheWhole) {
  const std::string text(100'000, 'x');
  Hasher hasher;
  for (size_t at = 0; at < text.size(); at += 977)
    hasher.update(text.data() + at, std::min<size_t>(977, text.size() - at));
  EXPECT_EQ(hasher.digest(), hash_text(text));
  EXPECT_NE(hash_text("ab"), hash_text("ba"));
}

}  // namespace
}  // namespace isoflop
