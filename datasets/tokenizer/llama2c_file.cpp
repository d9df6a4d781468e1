#include "datasets/tokenizer/llama2c_file.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/piece_tokenizer.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace isoflop {

namespace {

constexpr int32_t kLongestPiece = 1 << 16;

template <class T>
T number_at(std::string_view file, size_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof(value));
  return value;
}

bool is_byte(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return text.size() == 6 && text.substr(0, 3) == "<0x" && text[5] == '>' &&
         kDigits.find(text[3]) != kDigits.npos && kDigits.find(text[4]) != kDigits.npos;
}

/// The first three stand between newlines in some files.
std::string trimmed(std::string_view text) {
  while (!text.empty() && text.front() == '\n') text.remove_prefix(1);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text);
}

std::string with_visible_spaces(std::string_view text) {
  std::string result;
  for (const char c : text) c == ' ' ? result += "\u2581" : result += c;
  return result;
}

}  // namespace

bool looks_like_llama2c(std::string_view file) {
  if (file.size() < 12) return false;
  const int32_t longest = number_at<int32_t>(file, 0), first = number_at<int32_t>(file, 8);
  return longest >= 1 && longest <= kLongestPiece && first >= 1 && first <= kLongestPiece;
}

std::unique_ptr<Tokenizer> read_llama2c(std::string_view file, const std::string& origin) {
  if (file.size() < 4) fail_format("{}: {} bytes are no tokenizer", origin, file.size());
  PieceModel model;
  model.separator = 2;
  size_t at = 4;
  for (size_t id = 0; at < file.size(); ++id) {
    if (file.size() - at < 8) fail_format("{}: token {} at offset {} is cut off", origin, id, at);
    const float score = number_at<float>(file, at);
    const int32_t size = number_at<int32_t>(file, at + 4);
    at += 8;
    if (size < 0 || static_cast<size_t>(size) > file.size() - at)
      fail_format("{}: token {} at offset {} has a length of {}, but {} bytes are left", origin, id,
                  at - 8, size, file.size() - at);
    const std::string_view text = file.substr(at, static_cast<size_t>(size));
    at += static_cast<size_t>(size);
    if (id < 3)
      model.pieces.push_back(
          {trimmed(text), score, id == 0 ? TokenType::unknown : TokenType::control});
    else if (is_byte(text))
      model.pieces.push_back({std::string(text), score, TokenType::byte});
    else
      model.pieces.push_back({with_visible_spaces(text), score, TokenType::normal});
  }
  if (model.pieces.size() < 3)
    fail_format("{}: {} tokens are too few", origin, model.pieces.size());
  return make_piece_tokenizer(std::move(model), origin);
}

}  // namespace isoflop
