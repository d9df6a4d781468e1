// Rounding to quantized blocks, a thread a block of 32 values; contract in ops/rounding.hpp. Values
// are those of the codecs (formats/) to the bit: products and sums are not fused, divisions exact.
#pragma once
#include "cuda/rows.hpp"
#include "formats/block_codec.hpp"
#include "ops/rounding.hpp"

#include <bit>

namespace isoflop::gpu {

#ifdef __CUDACC__
ISOFLOP_KERNEL float times(float a, float b) {
  return __fmul_rn(a, b);
}
ISOFLOP_KERNEL float plus(float a, float b) {
  return __fadd_rn(a, b);
}
ISOFLOP_KERNEL float over(float a, float b) {
  return __fdiv_rn(a, b);
}
ISOFLOP_KERNEL uint32_t bits_of(float value) {
  return __float_as_uint(value);
}
ISOFLOP_KERNEL float with_bits(uint32_t bits) {
  return __uint_as_float(bits);
}
#else
ISOFLOP_KERNEL float times(float a, float b) {
  return a * b;
}
ISOFLOP_KERNEL float plus(float a, float b) {
  return a + b;
}
ISOFLOP_KERNEL float over(float a, float b) {
  return a / b;
}
ISOFLOP_KERNEL uint32_t bits_of(float value) {
  return std::bit_cast<uint32_t>(value);
}
ISOFLOP_KERNEL float with_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
#endif

ISOFLOP_KERNEL bool is_finite(float value) {
  return (bits_of(value) & 0x7f800000u) != 0x7f800000u;
}

/// The nearest value of F16, halves to even; infinite from 65520 on.
ISOFLOP_KERNEL float through_f16(float value) {
  const uint32_t sign = bits_of(value) & 0x80000000u, magnitude = bits_of(value) & 0x7fffffffu;
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, the last bit of 0.5
    const float rounded = plus(plus(with_bits(magnitude), 0.5f), -0.5f);
    return with_bits(bits_of(rounded) | sign);
  }
  const uint32_t rounded = (magnitude + 0xfffu + (magnitude >> 13 & 1u)) & ~0x1fffu;
  return with_bits((rounded >= 0x47800000u ? 0x7f800000u : rounded) | sign);
}

struct Q4Levels {
  ISOFLOP_KERNEL static float scale(float extreme) { return over(extreme, -8.0f); }
  ISOFLOP_KERNEL static float level(float value, float inverse) {
    const float level = plus(times(value, inverse), 8.5f);
    const int whole = is_finite(level) ? static_cast<int>(level) : 0;
    return static_cast<float>((whole < 15 ? whole : 15) - 8);
  }
};

struct Q8Levels {
  ISOFLOP_KERNEL static float scale(float extreme) { return over(fabsf(extreme), 127.0f); }
  ISOFLOP_KERNEL static float level(float value, float inverse) {
    const float level = roundf(times(value, inverse));
    return is_finite(level) ? static_cast<float>(static_cast<int>(level)) : 0.0f;  // no -0
  }
};

/// A block of 32 neighbours of a row.
template <class Levels>
struct RoundBlock {
  static constexpr int kValues = 32;
  Rows<const float> from;
  Rows<float> to;
  float factor;

  ISOFLOP_KERNEL void apply(int64_t row, int64_t block) const {
    const float* x = from.at(row, block * kValues);
    float* y = to.at(row, block * kValues);
    float values[kValues], extreme = 0;
    ISOFLOP_UNROLL for (int j = 0; j < kValues; ++j) {
      values[j] = times(x[j], factor);
      if (fabsf(values[j]) > fabsf(extreme)) extreme = values[j];
    }
    const float scale = Levels::scale(extreme), stored = through_f16(scale);
    const float inverse = scale != 0 ? over(1.0f, scale) : 0.0f;
    ISOFLOP_UNROLL for (int j = 0; j < kValues; ++j) y[j] =
        over(times(stored, Levels::level(values[j], inverse)), factor);
  }
};

struct RoundF16 {
  static constexpr int kValues = 1;
  Rows<const float> from;
  Rows<float> to;
  float factor;

  ISOFLOP_KERNEL void apply(int64_t row, int64_t col) const {
    *to.at(row, col) = over(through_f16(times(*from.at(row, col), factor)), factor);
  }
};

template <class Part>
struct EachBlock {
  Part part;
  int64_t rows, blocks;  // of a row

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t at = t.block() * t.threads() + t.thread();
    if (at < rows * blocks) part.apply(at / blocks, at % blocks);
  }
};

template <class Part, class Device>
void round_by(Device& device, const BlockRounding& a) {
  ISOFLOP_CHECK(a.from.cols % Part::kValues == 0, "rows of {} in blocks of {}", a.from.cols,
                Part::kValues);
  const int64_t blocks = a.from.cols / Part::kValues;
  const Part part{rows_of<const float>(a.from), rows_of<float>(a.to), static_cast<float>(a.factor)};
  if (a.from.rows * blocks > 0)
    device.launch({div_ceil(a.from.rows * blocks, int64_t{kThreads}), kThreads, 0},
                  EachBlock<Part>{part, a.from.rows, blocks});
}

template <class Device>
void round_to_blocks(Device& device, const BlockRounding& a) {
  switch (static_cast<BlockType>(a.type)) {
    case BlockType::q4_0:
      return round_by<RoundBlock<Q4Levels>>(device, a);
    case BlockType::q8_0:
      return round_by<RoundBlock<Q8Levels>>(device, a);
    case BlockType::f16:
      return round_by<RoundF16>(device, a);
    default:
      ISOFLOP_CHECK(false, "the GPU backend rounds to Q4_0, Q8_0 and F16, not to type {}", a.type);
  }
}

}  // namespace isoflop::gpu
