#include "core/utf8.hpp"

#include <fmt/core.h>

#include <cstdint>
#include <cstring>

namespace isoflop {

CodePoint first_code_point(std::string_view text) {
  if (text.empty()) return {};
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const int bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < static_cast<size_t>(bytes)) return {};
  char32_t value = lead & (0x7F >> bytes);
  for (int i = 1; i < bytes; ++i) {
    if ((byte(static_cast<size_t>(i)) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(static_cast<size_t>(i)) & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[bytes] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
    return {};
  return {value, bytes};
}

void append_utf8(std::string& text, char32_t value) {
  const auto push = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (value < 0x80) {
    push(value);
  } else if (value < 0x800) {
    push(0xC0 | value >> 6);
    push(0x80 | (value & 0x3F));
  } else if (value < 0x10000) {
    push(0xE0 | value >> 12);
    push(0x80 | (value >> 6 & 0x3F));
    push(0x80 | (value & 0x3F));
  } else {
    push(0xF0 | value >> 18);
    push(0x80 | (value >> 12 & 0x3F));
    push(0x80 | (value >> 6 & 0x3F));
    push(0x80 | (value & 0x3F));
  }
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight;
    if (at + sizeof(eight) <= text.size()) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const int bytes = first_code_point(text.substr(at)).bytes;
    if (bytes == 0) break;
    at += static_cast<size_t>(bytes);
  }
  return at;
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string result = "\"";
  size_t at = 0;
  while (at < text.size() && at < kLongest) {
    const CodePoint point = first_code_point(text.substr(at));
    const unsigned char byte = static_cast<unsigned char>(text[at]);
    if (point.bytes == 0 || byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02X}", byte);
    } else {
      if (byte == '"' || byte == '\\') result += '\\';
      result += text.substr(at, static_cast<size_t>(point.bytes));
    }
    at += point.bytes == 0 ? 1 : static_cast<size_t>(point.bytes);
  }
  return result + (at < text.size() ? "...\"" : "\"");
}

std::string describe_character(std::string_view text) {
  const CodePoint point = first_code_point(text);
  if (point.bytes == 0)
    return fmt::format("byte 0x{:02X}", text.empty() ? 0u : static_cast<unsigned char>(text[0]));
  return fmt::format("U+{:04X} {}", static_cast<uint32_t>(point.value),
                     in_quotes(text.substr(0, static_cast<size_t>(point.bytes))));
}

}  // namespace isoflop
