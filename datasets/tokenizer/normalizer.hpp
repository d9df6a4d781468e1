// Unicode normalization of text before it is tokenized.
#pragma once
#include <string>
#include <string_view>

namespace isoflop {

/// The text in normalization form C (Unicode Standard Annex 15), after Unicode 15. Bytes that are
/// not UTF-8 stay as they are and compose with nothing. O(n log n) for any text.
std::string to_nfc(std::string_view text);
/// Whether to_nfc would surely leave the text alone; cheap, true for most text.
bool surely_nfc(std::string_view text);

}  // namespace isoflop
