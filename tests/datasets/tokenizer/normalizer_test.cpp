#include "datasets/tokenizer/normalizer.hpp"

#include "core/utf8.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>

namespace isoflop {
namespace {

/// The library's own, all at once.
std::string reference_nfc(const std::string& text) {
  utf8proc_uint8_t* made = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &made,
                   static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  EXPECT_GE(size, 0);
  const std::string result(reinterpret_cast<char*>(made), static_cast<size_t>(size));
  std::free(made);
  return result;
}

TEST(Normalizer, ComposesAndReorders) {
  EXPECT_EQ(to_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(to_nfc("a\u0323\u0302 a\u0302\u0323"), "\u1ead \u1ead");
  EXPECT_EQ(to_nfc("\u212b\u2126"), "\u00c5\u03a9");  // signs that are letters
  EXPECT_EQ(to_nfc("\u1112\u1161\u11ab"), "\ud55c");
  EXPECT_EQ(to_nfc("\u0301"), "\u0301");
  EXPECT_EQ(to_nfc(""), "");
  EXPECT_TRUE(surely_nfc("caf\u00e9 \u02c6"));
  EXPECT_FALSE(surely_nfc("cafe\u0301"));
}

TEST(Normalizer, BytesThatAreNotUtf8StayAndCombineWithNothing) {
  EXPECT_EQ(to_nfc("e\u0301\xff\u0301"), "\u00e9\xff\u0301");
  EXPECT_EQ(to_nfc("\xcc"), "\xcc");
  EXPECT_EQ(to_nfc("e\xcc"), "e\xcc");
}

TEST(Normalizer, EqualsTheLibraryOnStretchesOfEveryKind) {
  for (char32_t c = 1; c < 0x30000; ++c) {  // every character behind and before one that composes
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "e";
    append_utf8(text, c);
    text += "\u0323\u0301";
    append_utf8(text, c);
    append_utf8(text, c);
    ASSERT_EQ(to_nfc(text), reference_nfc(text)) << "U+" << std::hex << static_cast<uint32_t>(c);
  }
  for (uint64_t stream = 0; stream < 3000; ++stream) {
    std::string text;
    for (uint64_t i = 0; i < 30; ++i) {
      const double kind = uniform01(5, stream, 2 * i), at = uniform01(5, stream, 2 * i + 1);
      const double low[] = {0x41, 0x300, 0x1100, 0x900, 0xAC00},
                   width[] = {0x200, 0x70, 0x100, 0x700, 0x2BA4};
      const size_t k = static_cast<size_t>(kind * 5);
      append_utf8(text, static_cast<char32_t>(low[k] + at * width[k]));
    }
    ASSERT_EQ(to_nfc(text), reference_nfc(text)) << in_quotes(text);
  }
}

TEST(Normalizer, LongRunsOfMarksStayFast) {
  std::string text = "a";
  for (int i = 0; i < 200000; ++i) text += i % 2 ? "\u0323" : "\u0301";
  const std::string composed = to_nfc(text);
  EXPECT_EQ(composed.size(), text.size());  // a with a dot below has the bytes of both
  EXPECT_EQ(composed.substr(0, 5), "\u1ea1\u0323");
  EXPECT_EQ(composed.substr(composed.size() - 4), "\u0301\u0301");
}

}  // namespace
}  // namespace isoflop
