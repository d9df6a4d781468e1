// The printable form of bytes in which GPT-2's files, tokenizer.json and GGUF write tokens:
// printable Latin-1 (0x21-0x7E, 0xA1-0xAC, 0xAE-0xFF) stands for itself, the other 68 bytes, in
// order, are written as U+0100 and up. A space becomes U+0120, a newline U+010A.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace isoflop {

std::string to_printable(std::string_view bytes);
/// False when `text` holds anything that is not the form of a byte; `bytes` is overwritten.
bool from_printable(std::string_view text, std::string& bytes);
/// All bytes in the order in which GPT-2's vocabulary lists them: by the code point that stands for
/// them.
const std::array<uint8_t, 256>& bytes_in_printable_order();

}  // namespace isoflop
