#include "datasets/tokenizer/char_class.hpp"

#include <utf8proc.h>

#include <array>

namespace isoflop {

namespace {

constexpr std::array<CharClass, 128> kAscii = [] {
  std::array<CharClass, 128> classes{};
  for (char32_t c = 0; c < 128; ++c)
    classes[c] = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ? CharClass::letter
                 : c >= '0' && c <= '9'                           ? CharClass::number
                 : c == ' ' || (c >= '\t' && c <= '\r')           ? CharClass::space
                                                                  : CharClass::other;
  return classes;
}();

/// Text is known to be valid, so nothing is checked.
char32_t decode_valid(const unsigned char* at, int& bytes) {
  const auto more = [&](int i) -> char32_t { return at[i] & 0x3Fu; };
  if (at[0] < 0xE0) {
    bytes = 2;
    return (at[0] & 0x1Fu) << 6 | more(1);
  }
  if (at[0] < 0xF0) {
    bytes = 3;
    return (at[0] & 0x0Fu) << 12 | more(1) << 6 | more(2);
  }
  bytes = 4;
  return (at[0] & 0x07u) << 18 | more(1) << 12 | more(2) << 6 | more(3);
}

}  // namespace

CharClass class_of(char32_t value) {
  if (value < 128) return kAscii[value];
  if (value == 0x85) return CharClass::space;  // next line: a control character, yet White_Space
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(value))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::letter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::number;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return CharClass::space;
    default:
      return CharClass::other;
  }
}

ClassifiedChar classify(std::string_view text, size_t at) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data()) + at;
  if (*bytes < 128) return {kAscii[*bytes], 1};
  int count = 0;
  const char32_t value = decode_valid(bytes, count);
  return {class_of(value), count};
}

size_t run_end(std::string_view text, size_t at, CharClass kind) {
  while (at < text.size()) {
    const ClassifiedChar next = classify(text, at);
    if (next.kind != kind) break;
    at += static_cast<size_t>(next.bytes);
  }
  return at;
}

}  // namespace isoflop
