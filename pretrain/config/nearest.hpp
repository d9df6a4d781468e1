// The known word nearest to what somebody typed, for messages that end in "did you mean".
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
int edit_distance(std::string_view a, std::string_view b);

/// The nearest of `known`, the first among equals; empty when nothing is near (more than half of
/// the longer word would have to change).
std::string nearest_word(std::string_view word, const std::vector<std::string>& known);

}  // namespace isoflop
