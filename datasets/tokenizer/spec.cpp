#include "datasets/tokenizer/spec.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"

#include <charconv>

namespace isoflop {

namespace {

constexpr int kLeast = 257;  // a separator and the bytes
constexpr int kMost = 1000000;

}  // namespace

TokenizerSpec parse_tokenizer_spec(std::string_view text) {
  using Kind = Tokenizer::Kind;
  if (text == "bytes") return {{}, Kind::bytes, 0};
  if (text == "chars") return {{}, Kind::chars, 0};
  if (text.empty() || text == "bpe")
    fail_user(
        "data.tokenizer {}: say bytes, chars, bpe:N (such as bpe:8192), or name a tokenizer file",
        in_quotes(text));
  if (text.substr(0, 4) != "bpe:") return {std::filesystem::path(text), Kind::bpe, 0};
  const std::string_view digits = text.substr(4);
  int vocabulary = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), vocabulary);
  if (error != std::errc() || end != digits.data() + digits.size() || vocabulary < kLeast ||
      vocabulary > kMost)
    fail_user("data.tokenizer {}: the vocabulary after bpe: must be a number from {} to {}",
              in_quotes(text), kLeast, kMost);
  return {{}, Kind::bpe, vocabulary};
}

}  // namespace isoflop
