#include "datasets/tokenizer/byte_text.hpp"

#include "core/utf8.hpp"

namespace isoflop {

namespace {

constexpr int kLargest = 0x143;  // the last of the 68 that are moved

struct Remapping {
  std::array<char32_t, 256> printable{};
  std::array<int, kLargest + 1> byte{};  // -1: stands for none
  std::array<uint8_t, 256> order{};

  Remapping() {
    byte.fill(-1);
    char32_t moved = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool itself = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
      printable[static_cast<size_t>(b)] = itself ? static_cast<char32_t>(b) : moved++;
      byte[printable[static_cast<size_t>(b)]] = b;
    }
    size_t next = 0;
    for (const int b : byte)
      if (b >= 0) order[next++] = static_cast<uint8_t>(b);
  }
};

const Remapping& remapping() {
  static const Remapping instance;
  return instance;
}

}  // namespace

std::string to_printable(std::string_view bytes) {
  std::string text;
  for (const char c : bytes)
    append_utf8(text, remapping().printable[static_cast<unsigned char>(c)]);
  return text;
}

bool from_printable(std::string_view text, std::string& bytes) {
  bytes.clear();
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    if (point.bytes == 0 || point.value > kLargest || remapping().byte[point.value] < 0)
      return false;
    bytes.push_back(static_cast<char>(remapping().byte[point.value]));
    text.remove_prefix(static_cast<size_t>(point.bytes));
  }
  return true;
}

const std::array<uint8_t, 256>& bytes_in_printable_order() {
  return remapping().order;
}

}  // namespace isoflop
