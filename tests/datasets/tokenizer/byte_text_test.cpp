#include "datasets/tokenizer/byte_text.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace isoflop {
namespace {

TEST(ByteText, KnownForms) {
  EXPECT_EQ(to_printable(" the\n"), "\u0120the\u010a");
  EXPECT_EQ(to_printable(std::string(1, '\0')), "\u0100");
  EXPECT_EQ(to_printable("\xad"), "\u0143");
  EXPECT_EQ(to_printable("\u00e9"), "\u00c3\u00a9");
}

TEST(ByteText, EveryByteHasItsOwnFormAndComesBack) {
  std::set<std::string> forms;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string bytes(1, static_cast<char>(byte));
    std::string back;
    EXPECT_TRUE(from_printable(to_printable(bytes), back));
    EXPECT_EQ(back, bytes);
    forms.insert(to_printable(bytes));
  }
  EXPECT_EQ(forms.size(), 256u);
}

TEST(ByteText, RefusesWhatStandsForNoByte) {
  std::string bytes;
  EXPECT_FALSE(from_printable("a b", bytes));
  EXPECT_FALSE(from_printable("\u0144", bytes));
  EXPECT_FALSE(from_printable("\u00ad", bytes));
  EXPECT_FALSE(from_printable("\xff", bytes));
  EXPECT_FALSE(from_printable("\U0001F600", bytes));
}

TEST(ByteText, OrderBeginsWithThePrintableAndEndsWithTheMoved) {
  const auto& order = bytes_in_printable_order();
  EXPECT_EQ(order[0], '!');
  EXPECT_EQ(order[93], '~');
  EXPECT_EQ(order[94], 0xA1);
  EXPECT_EQ(order[188], 0);
  EXPECT_EQ(order[255], 0xAD);
}

}  // namespace
}  // namespace isoflop
