// SHA-256 (FIPS 180-4), for files that people check with `sha256sum`; for everything of our own
// there is hash.hpp, which is fifty times as fast.
#pragma once
#include "core/file.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace isoflop {

class Sha256 {
 public:
  void update(const void* data, size_t bytes);
  /// 64 lower-case digits. Nothing may follow.
  std::string finish();

 private:
  void compress(const uint8_t* block);

  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<uint8_t, 64> block_ = {};
  size_t held_ = 0;     // bytes in block_
  uint64_t bytes_ = 0;  // so far
};

std::string sha256_text(std::string_view text);
/// UserError when it cannot be read.
std::string sha256_file(const fs::path& path);

}  // namespace isoflop
