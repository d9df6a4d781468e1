// What splitting rules ask about a character: is it a letter (\p{L}), a number (\p{N}), white space
// (the Unicode property White_Space), or something else. After Unicode 15.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace isoflop {

enum class CharClass : uint8_t { letter, number, space, other };

CharClass class_of(char32_t value);

struct ClassifiedChar {
  CharClass kind;
  int bytes;
};
/// The character at `at` of text that is valid UTF-8 from there on.
ClassifiedChar classify(std::string_view text, size_t at);

/// End of the run of `kind` that begins at `at` (`at` itself where there is none).
size_t run_end(std::string_view text, size_t at, CharClass kind);

}  // namespace isoflop
