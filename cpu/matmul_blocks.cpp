#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matmul_blocks.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "formats/block_levels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

// y = x W^T where W lies in a file as quantized blocks. The activations of each token are rounded
// to 8 bits in blocks, as the runtimes of these files do, so that the sums of a block are whole
// numbers and exact:
//
//   y = sum over blocks b of scale_b d_b (sum of levels times rounded x) + minimum_b (sum of x)_b
//
// A row of W is unpacked once, into the first-level cache, for all tokens of the call. For one
// token (text being written) that would cost more than the product: the types below are then read
// from their blocks into registers, with the same bits.
#ifndef ISOFLOP_CPU_MATMUL_BLOCKS_TYPES
#define ISOFLOP_CPU_MATMUL_BLOCKS_TYPES
namespace isoflop::cpu {

/// One token, or one row of the weight: a level for each column, and per 32 of them a scale and
/// the sum (of a token, scaled) or minimum (of the weight). Scales and offsets have room for whole
/// vectors; what no block uses of the offsets is zero.
struct LevelRow {
  int16_t* levels;
  float *scales, *offsets;
};

inline int64_t padded(int64_t blocks) {
  return (blocks + 15) / 16 * 16;
}

/// Blocks of 32 that are read into registers: F16 scale, F16 minimum if any, fifth bits if any,
/// levels.
struct Q8_0 {
  static constexpr int64_t kFront = 2, kBytes = 34;
  static constexpr bool kMinimum = false;
};
/// Level 0 means -kBelow.
template <int kBelow, bool kHasMinimum, bool kFifth>
struct Nibbles {
  static constexpr bool kMinimum = kHasMinimum;
  static constexpr int64_t kFront = kMinimum ? 4 : 2, kBytes = kFront + (kFifth ? 4 : 0) + 16;
};
using Q4_0 = Nibbles<8, false, false>;
using Q4_1 = Nibbles<0, true, false>;
using Q5_0 = Nibbles<16, false, true>;
using Q5_1 = Nibbles<0, true, true>;

}  // namespace isoflop::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// Levels i, i + 1, ... of a block: as many as d16 has lanes.
template <class D>
HWY_INLINE hn::Vec<D> load_levels(Q8_0, D d16, const uint8_t* levels, int64_t i) {
  const hn::Rebind<int8_t, D> d8;
  return hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const int8_t*>(levels) + i));
}
/// Nibbles: the low ones of sixteen bytes come first.
template <class D>
HWY_INLINE hn::Vec<D> load_nibbles(D d16, const uint8_t* bytes, int64_t i) {
#if HWY_CAP_GE512  // a vector holds the block
  const hn::Half<D> half;
  const auto both =
      hn::PromoteTo(half, hn::LoadU(hn::Rebind<uint8_t, decltype(half)>(), bytes + i));
  return hn::Combine(d16, hn::ShiftRight<4>(both), hn::And(both, hn::Set(half, 15)));
#else
  const auto both = hn::PromoteTo(d16, hn::LoadU(hn::Rebind<uint8_t, D>(), bytes + i % 16));
  return i < 16 ? hn::And(both, hn::Set(d16, 15)) : hn::ShiftRight<4>(both);
#endif
}
/// 16 where the level's fifth bit is set.
template <class D>
HWY_INLINE hn::Vec<D> load_fifth_bits(D d16, const uint8_t* bytes, int64_t i) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d16, static_cast<int16_t>((bytes[i / 8] >> (i % 8) & 1) << 4));
#else  // a vector begins at a whole byte
  return hn::IfThenElseZero(hn::LoadMaskBits(d16, bytes + i / 8), hn::Set(d16, 16));
#endif
}
template <int kBelow, bool kMinimum, bool kFifth, class D>
HWY_INLINE hn::Vec<D> load_levels(Nibbles<kBelow, kMinimum, kFifth>,
                                  D d16,
                                  const uint8_t* levels,
                                  int64_t i) {
  auto level = load_nibbles(d16, levels + (kFifth ? 4 : 0), i);
  if constexpr (kFifth) level = hn::Add(level, load_fifth_bits(d16, levels, i));
  if constexpr (kBelow != 0) level = hn::Sub(level, hn::Set(d16, kBelow));
  return level;
}

/// An F16 number in all lanes.
template <class D>
HWY_INLINE hn::Vec<D> load_f16(D d, const uint8_t* from) {
  const hn::Rebind<hwy::float16_t, D> half;
  const hn::RebindToUnsigned<decltype(half)> bits;
  uint16_t value;
  std::memcpy(&value, from, sizeof(value));
  return hn::PromoteTo(d, hn::BitCast(half, hn::Set(bits, value)));
}

/// Dot products of kRows rows of the weight with kTokens tokens, y[r * y_stride + t]; `products`
/// has room for a row's scales of each.
template <int kRows, int kTokens>
HWY_INLINE void dot_levels(const LevelRow* w,
                           const LevelRow* x,
                           int64_t cols,
                           bool minima,
                           float* products,
                           float* y,
                           int64_t y_stride) {
  const hn::CappedTag<int16_t, 32> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const hn::Rebind<float, decltype(d32)> df;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d16)), blocks = cols / kLevelBlock,
                room = padded(blocks);
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < kTokens; ++t)
      for_each_whole(blocks, [&](auto d, int64_t b) HWY_ATTR {
        hn::StoreU(hn::Mul(hn::LoadU(d, w[r].scales + b), hn::LoadU(d, x[t].scales + b)), d,
                   products + (r * kTokens + t) * room + b);
      });
  hn::Vec<decltype(df)> sum[kRows][kTokens];
  for (auto& of_row : sum)
    for (auto& s : of_row) s = hn::Zero(df);
  for (int64_t b = 0; b < blocks; ++b) {
    hn::Vec<decltype(d32)> whole[kRows][kTokens];
    for (auto& of_row : whole)
      for (auto& v : of_row) v = hn::Zero(d32);
    for (int64_t i = b * kLevelBlock; i < (b + 1) * kLevelBlock; i += step) {
      hn::Vec<decltype(d16)> level[kRows];
      for (int r = 0; r < kRows; ++r) level[r] = hn::LoadU(d16, w[r].levels + i);
      for (int t = 0; t < kTokens; ++t) {
        const auto token = hn::LoadU(d16, x[t].levels + i);
        for (int r = 0; r < kRows; ++r) {
          auto second = hn::Zero(d32);
          whole[r][t] = hn::ReorderWidenMulAccumulate(d32, level[r], token, whole[r][t], second);
          whole[r][t] = hn::Add(whole[r][t], second);
        }
      }
    }
    for (int r = 0; r < kRows; ++r)
      for (int t = 0; t < kTokens; ++t)
        sum[r][t] = hn::MulAdd(hn::ConvertTo(df, whole[r][t]),
                               hn::Set(df, products[(r * kTokens + t) * room + b]), sum[r][t]);
  }
  for (int r = 0; r < kRows; ++r)
    for (int t = 0; t < kTokens; ++t) {
      float& to = y[r * y_stride + t];
      to = hn::GetLane(hn::SumOfLanes(df, sum[r][t]));
      if (minima)
        to += reduce_sum(room, [&](auto d, int64_t b) HWY_ATTR {
          return hn::Mul(hn::LoadU(d, w[r].offsets + b), hn::LoadU(d, x[t].offsets + b));
        });
    }
}

/// `rows` rows by all tokens. Several of both at once, because what they are multiplied by has to
/// come from the second-level cache: the levels of 64 tokens do not fit into the first.
void dot_tokens(const LevelRow* w,
                int64_t rows,
                const LevelRow* x,
                int64_t tokens,
                int64_t cols,
                bool minima,
                float* products,
                float* y) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    float* to = y + r * tokens;
    int64_t t = 0;
    for (; t + 2 <= tokens; t += 2)
      dot_levels<4, 2>(w + r, x + t, cols, minima, products, to + t, tokens);
    if (t < tokens) dot_levels<4, 1>(w + r, x + t, cols, minima, products, to + t, tokens);
  }
  for (; r < rows; ++r)
    for (int64_t t = 0; t < tokens; ++t)
      dot_levels<1, 1>(w + r, x + t, cols, minima, products, y + r * tokens + t, tokens);
}

/// A row of blocks by one token, with the bits of dot_levels(). `minima` has room for the row's,
/// with zeros behind.
template <class Block>
HWY_INLINE float dot_packed(const uint8_t* row, const LevelRow& x, int64_t blocks, float* minima) {
  // Text is written at the speed of memory, and rows are too short for the processor to foresee.
  constexpr int64_t kAhead = 4096;
  const hn::CappedTag<int16_t, 32> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const hn::Rebind<float, decltype(d32)> df;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d16));
  auto sum = hn::Zero(df);
  for (int64_t b = 0; b < blocks; ++b) {
    const uint8_t* block = row + b * Block::kBytes;
    __builtin_prefetch(block + kAhead);
    auto whole = hn::Zero(d32), second = hn::Zero(d32);
    for (int64_t i = 0; i < kLevelBlock; i += step)
      whole = hn::ReorderWidenMulAccumulate(
          d32, load_levels(Block(), d16, block + Block::kFront, i),
          hn::LoadU(d16, x.levels + b * kLevelBlock + i), whole, second);
    whole = hn::Add(whole, second);
    const auto product = hn::Mul(load_f16(df, block), hn::Set(df, x.scales[b]));
    sum = hn::MulAdd(hn::ConvertTo(df, whole), product, sum);
    if (Block::kMinimum) minima[b] = hn::GetLane(load_f16(One(), block + 2));
  }
  float y = hn::GetLane(hn::SumOfLanes(df, sum));
  if (Block::kMinimum)
    y += reduce_sum(padded(blocks), [&](auto d, int64_t b) HWY_ATTR {
      return hn::Mul(hn::LoadU(d, minima + b), hn::LoadU(d, x.offsets + b));
    });
  return y;
}

template <class Block>
HWY_INLINE void dot_rows_of(const std::byte* blocks,
                            int64_t rows,
                            const LevelRow& x,
                            int64_t cols,
                            float* minima,
                            float* y) {
  const int64_t count = cols / kLevelBlock;
  std::fill_n(minima, padded(count), 0.0f);
  const uint8_t* row = reinterpret_cast<const uint8_t*>(blocks);
  for (int64_t r = 0; r < rows; ++r, row += count * Block::kBytes)
    y[r] = dot_packed<Block>(row, x, count, minima);
}

/// y[r] for `rows` rows of blocks and one token. False where the type is not read in place.
bool dot_rows(BlockType type,
              const std::byte* blocks,
              int64_t rows,
              const LevelRow& x,
              int64_t cols,
              float* minima,
              float* y) {
  if (type == BlockType::q8_0)
    dot_rows_of<Q8_0>(blocks, rows, x, cols, minima, y);
  else if (type == BlockType::q4_0)
    dot_rows_of<Q4_0>(blocks, rows, x, cols, minima, y);
  else if (type == BlockType::q4_1)
    dot_rows_of<Q4_1>(blocks, rows, x, cols, minima, y);
  else if (type == BlockType::q5_0)
    dot_rows_of<Q5_0>(blocks, rows, x, cols, minima, y);
  else if (type == BlockType::q5_1)
    dot_rows_of<Q5_1>(blocks, rows, x, cols, minima, y);
  else
    return false;
  return true;
}

/// Rounds a row of activations.
void round_activations(const float* x,
                       int64_t cols,
                       const ActivationRounding& how,
                       const LevelRow& row) {
  const hn::CappedTag<float, kLevelBlock> d;
  const hn::RebindToSigned<decltype(d)> d32;
  const hn::Rebind<int16_t, decltype(d)> d16;
  const int64_t step = static_cast<int64_t>(hn::Lanes(d));
  std::fill(row.offsets + cols / kLevelBlock, row.offsets + padded(cols / kLevelBlock), 0.0f);
  for (int64_t first = 0; first < cols; first += how.elements) {
    auto most = hn::Zero(d);
    for (int64_t i = first; i < first + how.elements; i += step)
      most = hn::Max(most, hn::Abs(hn::LoadU(d, x + i)));
    const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
    const float scale = largest / 127, inverse = scale != 0 ? 1 / scale : 0;
    const float kept = how.scale_in_f16 ? to_float(to_f16(scale)) : scale;
    for (int64_t b = first / kLevelBlock; b < (first + how.elements) / kLevelBlock; ++b) {
      auto sums = hn::Zero(d32);
      for (int64_t i = b * kLevelBlock; i < (b + 1) * kLevelBlock; i += step) {
        const auto level = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, inverse)));
        hn::StoreU(hn::DemoteTo(d16, level), d16, row.levels + i);
        sums = hn::Add(sums, level);
      }
      const auto sum = static_cast<float>(hn::GetLane(hn::SumOfLanes(d32, sums)));
      const float scaled = sum * scale;
      row.scales[b] = kept;
      row.offsets[b] = how.sum_in_f16 ? to_float(to_f16(scaled)) : sum * kept;
    }
  }
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(dot_rows);
HWY_EXPORT(dot_tokens);
HWY_EXPORT(round_activations);

namespace {

/// Rows of levels, one behind the other.
struct LevelRows {
  int64_t cols;
  std::byte* data;
  static size_t bytes_of(int64_t cols) {
    return static_cast<size_t>(cols) * sizeof(int16_t) +
           static_cast<size_t>(padded(cols / kLevelBlock)) * 2 * sizeof(float);
  }
  LevelRow operator[](int64_t i) const {
    std::byte* at = data + static_cast<size_t>(i) * bytes_of(cols);
    float* scales = reinterpret_cast<float*>(at + static_cast<size_t>(cols) * sizeof(int16_t));
    return {reinterpret_cast<int16_t*>(at), scales, scales + padded(cols / kLevelBlock)};
  }
};

}  // namespace

bool CpuBackend::multiplies_by(uint32_t type, int64_t cols) const {
  const BlockCodec* codec = find_block_codec(type);
  return codec && codec->fits(cols) && find_block_levels(codec->type);
}

WeightRef CpuBackend::prepare_blocks(const BlockMatrix& blocks) {
  ISOFLOP_CHECK(multiplies_by(blocks.type, blocks.cols), "blocks of type {} and rows of {}",
                blocks.type, blocks.cols);
  weights_.push_back({{}, {}, {}, blocks});
  return {blocks.rows, blocks.cols, &weights_.back()};
}

void CpuBackend::matmul_blocks(const Matmul& op, const BlockMatrix& w) {
  ISOFLOP_CHECK(op.x.dtype == DType::f32, "quantized weights take activations of fp32");
  constexpr int64_t kTokens = 64;  // rounded at once; with them a tile's rows stay in the cache
  constexpr int64_t kRows = 4;     // of the weight, unpacked at once
  constexpr int64_t kTileWeights = 32 * 1024;
  const BlockCodec& codec = *find_block_codec(w.type);
  const BlockLevels& form = *find_block_levels(codec.type);
  const int64_t tile_rows = std::max<int64_t>(1, kTileWeights / w.cols);
  const int64_t cols = w.cols, row_bytes = codec.bytes_for(cols),
                products_room = 2 * kRows * padded(cols / kLevelBlock);
  const size_t row_room = LevelRows::bytes_of(cols);
  const size_t thread_room =
      kRows * row_room +
      static_cast<size_t>(products_room + std::max(kRows * kTokens, tile_rows)) * sizeof(float);
  const auto floats = [](size_t bytes) { return static_cast<int64_t>(bytes / sizeof(float)); };
  float* scratch =
      scratch_.floats(floats(kTokens * row_room + static_cast<size_t>(team_.size()) * thread_room));
  const LevelRows tokens{cols, reinterpret_cast<std::byte*>(scratch)};
  std::byte* threads = tokens.data + kTokens * row_room;
  const auto round = HWY_DYNAMIC_DISPATCH(round_activations);
  const auto dot = HWY_DYNAMIC_DISPATCH(dot_tokens);
  const auto dot_in_place = HWY_DYNAMIC_DISPATCH(dot_rows);
  const float scale = static_cast<float>(op.scale);
  const float* bias = op.bias ? op.bias.as<float>() : nullptr;
  for (int64_t first = 0; first < op.x.rows; first += kTokens) {
    const int64_t count = std::min(kTokens, op.x.rows - first);
    team_.run(count, [&](int64_t t, int) {
      round(op.x.row<float>(first + t), cols, form.activations, tokens[t]);
    });
    std::array<LevelRow, kTokens> x;
    for (int64_t t = 0; t < count; ++t) x[static_cast<size_t>(t)] = tokens[t];
    team_.run(div_ceil(w.rows, tile_rows), [&](int64_t tile, int thread) {
      std::byte* room = threads + static_cast<size_t>(thread) * thread_room;
      const LevelRows levels{cols, room};
      float* products = reinterpret_cast<float*>(room + kRows * row_room);
      float* y = products + products_room;
      const auto finish = [&](int64_t t, int64_t r, float dot_product) {
        const float add = op.add ? op.add.row<float>(first + t)[r] : 0.0f;
        op.y.row<float>(first + t)[r] = add + scale * (dot_product + (bias ? bias[r] : 0.0f));
      };
      const int64_t begin = tile * tile_rows, end = std::min(begin + tile_rows, w.rows);
      if (count == 1 && dot_in_place(codec.type, w.blocks + begin * row_bytes, end - begin, x[0],
                                     cols, products, y)) {
        for (int64_t r = begin; r < end; ++r) finish(0, r, y[r - begin]);
        return;
      }
      std::array<LevelRow, kRows> rows;
      for (int64_t i = 0; i < kRows; ++i) {
        rows[static_cast<size_t>(i)] = levels[i];
        std::fill_n(levels[i].offsets, padded(cols / kLevelBlock), 0.0f);
      }
      for (int64_t r = begin; r < end; r += kRows) {
        const int64_t together = std::min(kRows, end - r);
        for (int64_t i = 0; i < together; ++i)
          form.unpack(w.blocks + (r + i) * row_bytes, cols, levels[i].levels, levels[i].scales,
                      levels[i].offsets);
        dot(rows.data(), together, x.data(), count, cols, form.has_minima, products, y);
        for (int64_t t = 0; t < count; ++t)
          for (int64_t i = 0; i < together; ++i) finish(t, r + i, y[i * count + t]);
      }
    });
  }
}

}  // namespace isoflop::cpu
#endif
