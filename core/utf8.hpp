// UTF-8 without trust: what to know about text that may be anything.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace isoflop {

struct CodePoint {
  char32_t value = 0;
  int bytes = 0;  // 0: the text does not begin with a valid sequence
};

/// The first code point. Overlong forms, surrogates and values past U+10FFFF are not valid.
CodePoint first_code_point(std::string_view text);
void append_utf8(std::string& text, char32_t value);
/// Length of the longest prefix that is valid UTF-8.
size_t valid_utf8_prefix(std::string_view text);

/// For messages: the text in quotes, control characters and bytes that are not UTF-8 escaped, long
/// ones cut.
std::string in_quotes(std::string_view text);
/// For messages: the first character, as U+00E9 "é", or byte 0xFF when it is not UTF-8.
std::string describe_character(std::string_view text);

}  // namespace isoflop
