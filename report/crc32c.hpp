// CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), as TFRecord files frame their records.
#pragma once
#include <cstdint>
#include <string_view>

namespace isoflop {

uint32_t crc32c(std::string_view bytes);

/// TFRecord stores checksums rotated and offset, so that a checksum of checksums stays meaningful.
uint32_t masked_crc32c(std::string_view bytes);

}  // namespace isoflop
