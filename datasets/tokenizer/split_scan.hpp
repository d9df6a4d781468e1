// The splitting rules that models are trained with, written out: each function gives the end of the
// piece that begins at `at` < text.size(), as its regular expression (pattern_of) would. An order
// of magnitude faster than the expression; tests hold them together.
#pragma once
#include <cstddef>
#include <string_view>

namespace isoflop {

/// `text` is valid UTF-8 in all of these.
size_t gpt2_piece_end(std::string_view text, size_t at);
/// Llama 3's rule with numbers of up to `most_digits`; Qwen 2's with 1.
size_t llama3_piece_end(std::string_view text, size_t at, int most_digits);
/// One \p{N}, or all up to the next one.
size_t number_piece_end(std::string_view text, size_t at);
/// A run of \p{N}, or all up to the next one.
size_t number_run_end(std::string_view text, size_t at);

}  // namespace isoflop
