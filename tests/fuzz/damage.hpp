// Damaged copies of valid files, the same ones every time.
#pragma once
#include "core/rng.hpp"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

namespace isoflop::fuzz {

/// `bytes` with one to four changes, a function of `number`: bits turned, numbers put in that
/// overflow sizes, pieces cut out, doubled or taken from `other`, the end missing.
inline std::string damaged(std::string bytes, std::string_view other, uint64_t number) {
  uint64_t draws = 0;
  const auto below = [&](size_t bound) {
    return static_cast<size_t>(uniform01(number, rng_stream(RngUse::probe, 0), draws++) *
                               static_cast<double>(bound));
  };
  for (size_t changes = 1 + below(4); changes > 0; --changes) {
    if (bytes.empty()) bytes = " ";
    const size_t at = below(bytes.size()),
                 length = 1 + below(std::min<size_t>(64, bytes.size() - at));
    switch (below(9)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << below(8));
        break;
      case 1:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 2: {  // the numbers that sizes and counts overflow at, four or eight bytes wide
        constexpr uint64_t kOdd[] = {0,
                                     1,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     ~uint64_t{0},
                                     uint64_t{1} << 63,
                                     (uint64_t{1} << 62) + 1,
                                     uint64_t{1} << 32,
                                     ~uint64_t{0} >> 5,
                                     ~uint64_t{0} - 30};
        const uint64_t value = kOdd[below(std::size(kOdd))];
        for (size_t i = 0, width = below(2) ? 8 : 4; i < width && at + i < bytes.size(); ++i)
          bytes[at + i] = static_cast<char>(value >> 8 * i);
        break;
      }
      case 3:
        bytes.resize(at);
        break;
      case 4:
        bytes.erase(at, length);
        break;
      case 5:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 6:
        bytes.insert(at, other.substr(below(other.size() + 1), length));
        break;
      case 7: {  // what texts are made of
        constexpr std::string_view kWords[] = {"\"",   "{",    "[[[[",  "]",
                                               "null", "-1",   "1e999", "18446744073709551616",
                                               "\\u",  "\xff", "\n",    ","};
        bytes.insert(at, kWords[below(std::size(kWords))]);
        break;
      }
      case 8:  // what recursion would follow until the stack ends
        if (below(20) == 0) bytes.insert(at, std::string(200'000, below(2) ? '[' : '{'));
        break;
    }
  }
  return bytes;
}

}  // namespace isoflop::fuzz
