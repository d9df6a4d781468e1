#include "formats/block_codec.hpp"

#include "core/error.hpp"
#include "formats/block_codec_rows.hpp"

#include <array>
#include <bit>
#include <cctype>

namespace isoflop {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

namespace {

using namespace blocks;

constexpr std::array kCodecs = {
    BlockCodec{BlockType::f32, "F32", 1, 4, quantize_f32, dequantize_f32},
    BlockCodec{BlockType::f16, "F16", 1, 2, quantize_f16, dequantize_f16},
    BlockCodec{BlockType::bf16, "BF16", 1, 2, quantize_bf16, dequantize_bf16},
    BlockCodec{BlockType::q8_0, "Q8_0", 32, 34, quantize_q8_0, dequantize_q8_0},
    BlockCodec{BlockType::q4_0, "Q4_0", 32, 18, quantize_q4_0, dequantize_q4_0, weighted_q4_0},
    BlockCodec{BlockType::q4_1, "Q4_1", 32, 20, quantize_q4_1, dequantize_q4_1, weighted_q4_1},
    BlockCodec{BlockType::q5_0, "Q5_0", 32, 22, quantize_q5_0, dequantize_q5_0, weighted_q5_0},
    BlockCodec{BlockType::q5_1, "Q5_1", 32, 24, quantize_q5_1, dequantize_q5_1, weighted_q5_1},
    BlockCodec{BlockType::q2_k, "Q2_K", 256, 84, nullptr, nullptr},
    BlockCodec{BlockType::q3_k, "Q3_K", 256, 110, nullptr, nullptr},
    BlockCodec{BlockType::q4_k, "Q4_K", 256, 144, quantize_q4_k, dequantize_q4_k, weighted_q4_k},
    BlockCodec{BlockType::q5_k, "Q5_K", 256, 176, quantize_q5_k, dequantize_q5_k, weighted_q5_k},
    BlockCodec{BlockType::q6_k, "Q6_K", 256, 210, quantize_q6_k, dequantize_q6_k, weighted_q6_k},
    BlockCodec{BlockType::iq4_nl, "IQ4_NL", 32, 18, nullptr, dequantize_iq4_nl},
    BlockCodec{BlockType::iq4_xs, "IQ4_XS", 256, 136, nullptr, dequantize_iq4_xs},
    BlockCodec{BlockType::mxfp4, "MXFP4", 32, 17, nullptr, dequantize_mxfp4},
    BlockCodec{BlockType::nvfp4, "NVFP4", 64, 36, nullptr, dequantize_nvfp4},
};

bool same_name(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::toupper(static_cast<unsigned char>(a[i])) !=
        std::toupper(static_cast<unsigned char>(b[i])))
      return false;
  return true;
}

}  // namespace

std::span<const BlockCodec> block_codecs() {
  return kCodecs;
}

const BlockCodec* find_block_codec(uint32_t id) {
  for (const BlockCodec& codec : kCodecs)
    if (static_cast<uint32_t>(codec.type) == id) return &codec;
  return nullptr;
}

const BlockCodec* find_block_codec(std::string_view name) {
  for (const BlockCodec& codec : kCodecs)
    if (same_name(codec.name, name)) return &codec;
  return nullptr;
}

const BlockCodec& block_codec(BlockType type) {
  const BlockCodec* codec = find_block_codec(static_cast<uint32_t>(type));
  ISOFLOP_CHECK(codec, "no codec for block type {}", static_cast<uint32_t>(type));
  return *codec;
}

}  // namespace isoflop
