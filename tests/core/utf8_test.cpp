#include "core/utf8.hpp"

#include <gtest/gtest.h>

#include <string>

namespace isoflop {
namespace {

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t point = 0; point <= 0x10FFFF; ++point) {
    std::string text;
    append_utf8(text, point);
    const CodePoint back = first_code_point(text);
    if (point >= 0xD800 && point <= 0xDFFF) {
      ASSERT_EQ(back.bytes, 0) << "a surrogate is no character: " << static_cast<uint32_t>(point);
    } else {
      ASSERT_EQ(back.value, point);
      ASSERT_EQ(static_cast<size_t>(back.bytes), text.size());
    }
  }
}

TEST(Utf8, RefusesWhatIsNotACharacter) {
  for (const char* text : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xe0\x9f\xbf",
                           "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
                           "\xc3", "\xe4\xbd", "\xf0\x9f\x98", "\xc3(", "\xe4\xbd("})
    EXPECT_EQ(first_code_point(text).bytes, 0);
  EXPECT_EQ(first_code_point("").bytes, 0);
}

TEST(Utf8, ValidPrefixEndsAtTheFirstBadByte) {
  const std::string good = "plain ascii, caf\u00e9, \U0001F600 and more ascii";
  EXPECT_EQ(valid_utf8_prefix(good), good.size());
  for (size_t at = 0; at <= good.size(); ++at) {
    if (at < good.size() && (good[at] & 0xC0) == 0x80) continue;
    EXPECT_EQ(valid_utf8_prefix(good.substr(0, at) + "\xff" + good.substr(at)), at);
  }
}

TEST(Utf8, MessagesShowAnything) {
  EXPECT_EQ(in_quotes("a\"b\\\n\xff"), "\"a\\\"b\\\\\\x0A\\xFF\"");
  EXPECT_EQ(in_quotes(std::string(100, 'x')), "\"" + std::string(60, 'x') + "...\"");
  EXPECT_EQ(describe_character("\u00e9t\u00e9"), "U+00E9 \"\u00e9\"");
  EXPECT_EQ(describe_character("\xff"), "byte 0xFF");
}

}  // namespace
}  // namespace isoflop
