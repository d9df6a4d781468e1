#include <cmath>
#include <limits>
#include <numbers>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_bf16.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/attention-inl.h"
#include "cpu/cpu_backend.hpp"
#include "hwy/cache_control.h"

// Attention on bf16: the blocks of attention.cpp, their products made by gemm_bf16. Scores, softmax
// and all sums are fp32; the probabilities and the gradients of the scores are rounded to bf16
// before they are multiplied, as are all operands. Keys and values are packed once for all that
// reads them in a tile, so blocks begin at whole panels of keys. Exponentials are powers of two,
// since the scale of the scores can carry the factor.
HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// 2^x for x <= 0; below -125, where a product could be subnormal, 0. Relative error 1.1e-7; NaN
/// stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp2_negative(D d, V x) {
  V power;
  const V r = split_exponent(d, x, power);
  V p = hn::Set(d, 0.00132647273f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.00967151299f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.0555073358f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.240222424f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.693147004f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, -125.0f)), hn::Zero(d), hn::Mul(p, power));
}

/// Two vectors one behind the other; store_pair() has elements of the two alternate.
HWY_INLINE void store_two(VFull first, VFull second, Full d, bf16* to) {
#if HWY_TARGET == HWY_SCALAR
  store(first, d, to);
  store(second, d, to + 1);
#else
  const hn::Repartition<uint16_t, Full> halves;
  const auto upper = hn::ConcatOdd(halves, hn::BitCast(halves, round_to_bf16(d, second)),
                                   hn::BitCast(halves, round_to_bf16(d, first)));
  hn::StoreU(upper, halves, reinterpret_cast<uint16_t*>(to));
#endif
}

/// Columns of a block; whole pairs of vectors.
struct Span {
  int64_t first, last;
};
static_assert(kKeyBlock % 32 == 0);  // which stay within a block

/// The span that holds what rows [row, row + rows) see, in which the scores that they do not see
/// become kUnseen. It is empty for a row that sees nothing.
HWY_INLINE Span hide_unseen(const ScoreBlock& block, int64_t row, int64_t rows) {
  const int64_t width = 2 * lanes(), first = block.hidden(row) / width * width;
  const int64_t last = std::max(first, round_up(block.seen(row + rows - 1), width));
  for (int64_t i = row; i < row + rows; ++i) {
    float* scores = block.row(i);
    std::fill(scores + first, scores + std::clamp(block.hidden(i), first, last), kUnseen);
    std::fill(scores + std::clamp(block.seen(i), first, last), scores + last, kUnseen);
  }
  return {first, last};
}

HWY_INLINE float largest_of(const float* scores, Span span) {
  const Full d;
  VFull a = hn::Set(d, kUnseen), b = a;
  for (int64_t j = span.first; j < span.last; j += 2 * lanes()) {
    a = hn::Max(a, hn::LoadU(d, scores + j));
    b = hn::Max(b, hn::LoadU(d, scores + j + lanes()));
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(a, b)));
}

/// 2^(scale score - max) of the span, stored in p; returns their sum.
HWY_INLINE float exponentials(const float* scores, Span span, float scale, float max, bf16* p) {
  const Full d;
  const VFull scales = hn::Set(d, scale), maxima = hn::Set(d, max);
  VFull sum_a = hn::Zero(d), sum_b = sum_a;
  for (int64_t j = span.first; j < span.last; j += 2 * lanes()) {
    const VFull x = hn::LoadU(d, scores + j), y = hn::LoadU(d, scores + j + lanes());
    const VFull a = exp2_negative(d, hn::MulSub(x, scales, maxima));
    const VFull b = exp2_negative(d, hn::MulSub(y, scales, maxima));
    store_two(a, b, d, p + j);
    sum_a = hn::Add(sum_a, a);
    sum_b = hn::Add(sum_b, b);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(sum_a, sum_b)));
}

/// Scores s become P = 2^(scale s - max), relative to the running maximum of what is scaled; what
/// was summed before, in `out` too, is brought to the new maximum.
void softmax_block_bf16(const ScoreBlock& block, float scale, bf16* p, Running& running, View out) {
  Span next = hide_unseen(block, 0, 1);
  float next_largest = largest_of(block.row(0), next);
  for (int64_t i = 0; i < block.rows; ++i, p += kScoreStride) {
    const Span span = next;
    const float largest = next_largest;
    if (i + 1 < block.rows) {  // ahead, so that no row waits for its maximum
      next = hide_unseen(block, i + 1, 1);
      next_largest = largest_of(block.row(i + 1), next);
    }
    std::fill(p, p + span.first, bf16());
    std::fill(p + span.last, p + std::max(span.last, block.keys), bf16());
    if (span.first == span.last) continue;
    float &max = running.max[static_cast<size_t>(i)], &sum = running.sum[static_cast<size_t>(i)];
    const float top = std::max(max, scale * largest);
    const float added = exponentials(block.row(i), span, scale, top, p);
    if (top > max && sum != 0) {
      const float factor = std::exp2(max - top);
      sum *= factor;
      for_each(out.cols, [&](auto d, int64_t j) HWY_ATTR {
        float* at = out.row<float>(i) + j;
        hn::StoreU(hn::Mul(hn::LoadU(d, at), hn::Set(d, factor)), d, at);
      });
    }
    max = top;
    sum += added;
  }
}

/// P = 2^(scale score - lse) and dS = P (dP - delta).
struct Gradients {
  VFull scale, lse, delta;

  HWY_INLINE void operator()(const float* scores, const float* dp, VFull& p, VFull& ds) const {
    const Full d;
    p = exp2_negative(d, hn::MulSub(hn::LoadU(d, scores), scale, lse));
    ds = hn::Mul(p, hn::Sub(hn::LoadU(d, dp), delta));
  }
};

/// Scores become P and dS, two queries at a time. An odd last one has zeros beside it, as panels
/// demand.
void softmax_backward_block_bf16(const ScoreBlock& block, float scale, const SoftmaxBackward& to) {
  const Full d;
  const VFull none = hn::Zero(d);
  const int64_t step = lanes(), stride = panel_stride(block.rows);
  for (int64_t i = 0; i < block.rows; i += 2) {
    const int64_t rows[2] = {i, std::min(i + 1, block.rows - 1)};
    const Span span = hide_unseen(block, i, rows[1] - i + 1);
    const float second_lse = rows[1] > i ? to.lse[rows[1]] : -kUnseen;
    const Gradients of_row[2] = {
        {hn::Set(d, scale), hn::Set(d, to.lse[i]), hn::Set(d, to.delta[i])},
        {hn::Set(d, scale), hn::Set(d, second_lse), hn::Set(d, to.delta[rows[1]])}};
    for (int64_t j = 0; j < block.keys; j += 2 * step) {
      VFull p[2][2] = {{none, none}, {none, none}}, ds[2][2] = {{none, none}, {none, none}};
      for (int64_t v = 0; v < 2; ++v) {
        const int64_t at = j + v * step;
        if (j >= span.first && j < span.last)
          for (int64_t r = 0; r < 2; ++r)
            of_row[r](block.row(rows[r]) + at, to.dp + rows[r] * kScoreStride + at, p[r][v],
                      ds[r][v]);
        const int64_t pair = at / kPanel * stride + i * kPanel + at % kPanel * 2;
        store_pair(p[0][v], p[1][v], d, to.p_panels + pair);
        store_pair(ds[0][v], ds[1][v], d, to.ds_panels + pair);
      }
      for (int64_t r = 1; r >= 0; --r)  // the first row last: it may be both
        store_two(ds[r][0], ds[r][1], d, to.ds + rows[r] * kScoreStride + j);
    }
  }
}

void row_dots_bf16(View a, View b, float* result) {
  for (int64_t i = 0; i < a.rows; ++i)
    result[i] = reduce_sum(a.cols, [&](auto d, int64_t j) HWY_ATTR {
      return hn::Mul(load(d, a.row<bf16>(i) + j), load(d, b.row<bf16>(i) + j));
    });
}

/// to = from^T, of `rows` rows that lie one behind the other.
void transpose(const float* from, int64_t stride, int64_t rows, int64_t cols, float* to) {
  int64_t c = 0;
#if HWY_TARGET != HWY_SCALAR  // which has no vectors of four
  const hn::FixedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> wide;
  for (; c + 4 <= cols; c += 4) {
    const float* source = from + c * stride;
    int64_t j = 0;
    for (; j + 4 <= rows; j += 4) {
      const auto store_rows = [&](auto left, auto right, int64_t row) HWY_ATTR {
        const auto a = hn::BitCast(wide, left), b = hn::BitCast(wide, right);
        float* at = to + (j + row) * cols + c;
        hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, a, b)), d, at);
        hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, a, b)), d, at + cols);
      };
      const auto a = hn::LoadU(d, source + j), b = hn::LoadU(d, source + stride + j),
                 e = hn::LoadU(d, source + 2 * stride + j),
                 f = hn::LoadU(d, source + 3 * stride + j);
      store_rows(hn::InterleaveLower(d, a, b), hn::InterleaveLower(d, e, f), 0);
      store_rows(hn::InterleaveUpper(d, a, b), hn::InterleaveUpper(d, e, f), 2);
    }
    for (; j < rows; ++j)
      for (int64_t k = 0; k < 4; ++k) to[j * cols + c + k] = source[k * stride + j];
  }
#endif
  for (; c < cols; ++c)
    for (int64_t j = 0; j < rows; ++j) to[j * cols + c] = from[c * stride + j];
}

/// to = factor * from, a row of `to.cols` fp32 after the other.
void round_row_scaled(const float* from, float factor, bf16* to, int64_t count) {
  for_each(count, [&](auto d, int64_t j) HWY_ATTR {
    store(hn::Mul(hn::LoadU(d, from + j), hn::Set(d, factor)), d, to + j);
  });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(softmax_block_bf16);
HWY_EXPORT(softmax_backward_block_bf16);
HWY_EXPORT(row_dots_bf16);
HWY_EXPORT(round_row_scaled);
HWY_EXPORT(transpose);

namespace {

// Few queries at a time keep the triangle that is computed in vain small. Their gradients want
// more: the inner length of the products for keys and values.
constexpr int64_t kQueries = 32, kGradQueries = 64;
constexpr int64_t kFewestQueries = 128;  // of a tile, which packs all keys that they see
static_assert(kQueries <= kQueryBlock && kKeyBlock % kPanel == 0);
constexpr float kLog2E = std::numbers::log2e_v<float>;

/// Hands out pieces of a thread's scratch.
template <class T>
class Room {
 public:
  explicit Room(T* next) : next_(next) {}
  T* take(int64_t count) { return std::exchange(next_, next_ + count); }

 private:
  T* next_;
};

/// Fetches rows that lie apart, which the processor does not foresee.
void prefetch(View x) {
  constexpr int64_t kLine = 64 / sizeof(bf16);
  for (int64_t r = 0; r < x.rows; ++r)
    for (int64_t c = 0; c < x.cols; c += kLine) hwy::Prefetch(x.row<bf16>(r) + c);
}
/// Rows [first, first + count) of x, or as many of them as there are.
View rows_from(View x, int64_t first, int64_t count) {
  first = std::min(first, x.rows);
  return x.slice(first, std::min(count, x.rows - first));
}

void pack_transposed(View source, bf16* panels) {
  for (int64_t panel = 0; panel < div_ceil(source.rows, kPanel); ++panel) {
    prefetch(rows_from(source, (panel + 2) * kPanel, kPanel));
    pack_columns(source, panel, panels);
  }
}

void pack_whole(View source, bf16* panels) {
  pack_rows({source, 0, source.rows, panels});
}

/// The first key that any query from row `r` on sees, or some before it: a panel begins there.
int64_t first_panel(FirstKeys first_keys, int64_t r) {
  return first_key(first_keys, r) / kPanel * kPanel;
}

/// Queries of one tile: all, or fewer if that leaves threads without tiles.
int64_t queries_of_tile(const AttentionShape& s, int threads) {
  const int64_t pieces = div_ceil(4 * threads, s.batch * s.kv_heads);
  return round_up(std::max(div_ceil(s.queries, pieces), kFewestQueries), kQueries);
}

/// The panel in which key `key` begins.
const bf16* panel_of(const bf16* panels, int64_t key, int64_t inner) {
  return panels + key / kPanel * panel_stride(inner);
}

}  // namespace

// A tile packs the keys and values that some queries of a group's heads see. How many queries these
// are shows in no bits: all blocks begin where the whole sequence in one tile would have them.
void CpuBackend::attention_forward_bf16(const AttentionForward& op) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, past = s.keys - s.queries, hd = s.head_dim;
  const float scale = static_cast<float>(s.scale) * kLog2E;
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_block_bf16);
  const auto write = HWY_DYNAMIC_DISPATCH(round_row_scaled);
  constexpr int64_t kBlock = kQueries * kScoreStride;
  const int64_t floats = kBlock + kQueries * hd;
  const int64_t halves = kBlock + packed_size(hd, s.keys) + packed_size(s.keys, hd);
  float* scratch = scratch_.floats(team_.size() * floats);
  bf16* scratch_bf16 = panels_.bf16s(team_.size() * halves);
  const int64_t sequences = s.batch * s.kv_heads, tile_queries = queries_of_tile(s, team_.size());
  const int64_t pieces = div_ceil(s.queries, tile_queries);
  team_.run(pieces * sequences, [&](int64_t tile, int thread) {
    const int64_t b = tile % sequences / s.kv_heads, kv_head = tile % s.kv_heads;
    const int64_t begin = (pieces - 1 - tile / sequences) * tile_queries;  // longest first
    const int64_t end = std::min(begin + tile_queries, s.queries);
    const int64_t base = first_panel(op.first_keys, b * s.queries + begin),
                  keys = past + end - base;
    Room<float> room(scratch + thread * floats);
    Room<bf16> room_bf16(scratch_bf16 + thread * halves);
    float* scores = room.take(kBlock);
    bf16 *p = room_bf16.take(kBlock), *k = room_bf16.take(packed_size(hd, s.keys)),
         *v = room_bf16.take(packed_size(s.keys, hd));
    const View out = make_view(room.take(kQueries * hd), kQueries, hd);
    const auto keys_of = [&](View x) {
      return head_rows(x, b * s.key_stride() + base, keys, kv_head, hd);
    };
    pack_transposed(keys_of(op.k), k);
    pack_whole(keys_of(op.v), v);
    const auto attend = [&](int64_t h, int64_t first, int64_t rows) {
      const int64_t row = b * s.queries + first;
      const View q = head_rows(op.q, row, rows, h, hd), to = head_rows(op.out, row, rows, h, hd);
      prefetch(to);
      const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
      Running running;
      running.max.fill(std::numeric_limits<float>::lowest());
      running.sum.fill(0);
      // Keys count from `base` within the panels.
      const int64_t start = first_panel(op.first_keys, row) - base;
      const int64_t seen = past + first + rows - base;
      for (int64_t key = start; key < seen; key += kKeyBlock) {
        const int64_t count = std::min(kKeyBlock, seen - key);
        gemm_bf16({.m = rows,
                   .n = count,
                   .k = hd,
                   .a = q.as<bf16>(),
                   .lda = q.stride,
                   .b = panel_of(k, key, hd),
                   .c = scores,
                   .ldc = kScoreStride},
                  kernel_);
        softmax({scores, rows, count, past + first + 1 - base - key, first_keys, base + key}, scale,
                p, running, out);
        gemm_bf16({.m = rows,
                   .n = hd,
                   .k = count,
                   .a = p,
                   .lda = kScoreStride,
                   .b = v + key * kPanel,
                   .b_inner = keys,
                   .c = out.as<float>(),
                   .ldc = hd,
                   .accumulate = key > start},
                  kernel_);
      }
      for (int64_t i = 0; i < rows; ++i) {
        const float sum = running.sum[static_cast<size_t>(i)];
        write(out.row<float>(i), 1 / sum, to.row<bf16>(i), hd);
        if (op.lse)
          op.lse.row<float>(row + i)[h] =
              running.max[static_cast<size_t>(i)] / kLog2E + std::log(sum);
      }
    };
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
      for (int64_t first = begin; first < end; first += kQueries)
        attend(h, first, std::min(kQueries, end - first));
  });
}

// A tile owns the keys and values of one head of one sequence, as in fp32. Their gradients are
// summed transposed, with P and dS on the right: the softmax leaves them in panels at little cost,
// and few blocks of the product are cut short.
void CpuBackend::attention_backward_bf16(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, T = s.queries, hd = s.head_dim;
  const float scale = static_cast<float>(s.scale);
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_backward_block_bf16);
  const auto dots = HWY_DYNAMIC_DISPATCH(row_dots_bf16);
  const auto write = HWY_DYNAMIC_DISPATCH(round_row_scaled);
  const auto transposed = HWY_DYNAMIC_DISPATCH(transpose);
  constexpr int64_t kBlock = kGradQueries * kScoreStride;
  const int64_t block_packed = packed_size(kGradQueries, kKeyBlock),
                keys_packed = packed_size(T, hd);
  const int64_t columns_packed = packed_size(hd, T);
  const int64_t stride = round_up(T, kPanel) + kPanel;  // of dK^T; not a power of two
  const int64_t floats = 2 * kBlock + 2 * hd * stride + kGradQueries * hd;
  const int64_t halves = kBlock + 2 * block_packed + 2 * columns_packed + keys_packed;
  float* scratch = scratch_.floats(team_.size() * floats);
  bf16* scratch_bf16 = panels_.bf16s(team_.size() * halves);
  team_.run(s.batch * s.kv_heads, [&](int64_t tile, int thread) {
    const int64_t b = tile / s.kv_heads, kv_head = tile % s.kv_heads;
    const auto keys_of = [&](View x) { return head_rows(x, b * s.key_stride(), T, kv_head, hd); };
    Room<float> room(scratch + thread * floats);
    Room<bf16> room_bf16(scratch_bf16 + thread * halves);
    float *scores = room.take(kBlock), *dp = room.take(kBlock),
          *block_sum = room.take(kGradQueries * hd), *dk = room.take(hd * stride),
          *dv = room.take(hd * stride);
    bf16 *ds = room_bf16.take(kBlock), *p_panels = room_bf16.take(block_packed),
         *ds_panels = room_bf16.take(block_packed), *k_transposed = room_bf16.take(columns_packed),
         *v_transposed = room_bf16.take(columns_packed), *k_packed = room_bf16.take(keys_packed);
    pack_transposed(keys_of(op.k), k_transposed);
    pack_transposed(keys_of(op.v), v_transposed);
    pack_whole(keys_of(op.k), k_packed);
    std::fill_n(dk, 2 * hd * stride, 0.0f);  // and dv behind it
    std::array<float, kGradQueries> lse, delta;
    const auto add_block = [&](int64_t h, int64_t first) {
      const auto rows_at = [&](View x, int64_t at) {
        return rows_from(head_rows(x, b * T, T, h, hd), at, kGradQueries);
      };
      for (const View x : {op.q, op.dout, op.out}) prefetch(rows_at(x, first + kGradQueries));
      const View q = rows_at(op.q, first), dout = rows_at(op.dout, first),
                 to = rows_at(op.dq, first);
      prefetch(to);
      const int64_t rows = q.rows, row = b * T + first;
      dots(dout, rows_at(op.out, first), delta.data());
      for (int64_t i = 0; i < rows; ++i)
        lse[static_cast<size_t>(i)] = kLog2E * op.lse.row<float>(row + i)[h];
      const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
      const int64_t start = first_panel(op.first_keys, row);
      for (int64_t key = start; key < first + rows; key += kKeyBlock) {
        const int64_t count = std::min(kKeyBlock, first + rows - key);
        const auto scores_of = [&](View x, const bf16* keys, float* result) {
          gemm_bf16({.m = rows,
                     .n = count,
                     .k = hd,
                     .a = x.as<bf16>(),
                     .lda = x.stride,
                     .b = panel_of(keys, key, hd),
                     .c = result,
                     .ldc = kScoreStride},
                    kernel_);
        };
        const auto add_transposed = [&](View x, const bf16* panels, float* sum) {
          gemm_bf16({.m = hd,
                     .n = count,
                     .k = rows,
                     .a = x.as<bf16>(),
                     .lda = x.stride,
                     .transposed_a = true,
                     .b = panels,
                     .c = sum + key,
                     .ldc = stride,
                     .accumulate = true},
                    kernel_);
        };
        scores_of(q, k_transposed, scores);
        scores_of(dout, v_transposed, dp);
        softmax({scores, rows, count, first + 1 - key, first_keys, key}, scale * kLog2E,
                {dp, lse.data(), delta.data(), p_panels, ds_panels, ds});
        add_transposed(dout, p_panels, dv);
        add_transposed(q, ds_panels, dk);
        gemm_bf16({.m = rows,
                   .n = hd,
                   .k = count,
                   .a = ds,
                   .lda = kScoreStride,
                   .b = k_packed + key * kPanel,
                   .b_inner = T,
                   .c = block_sum,
                   .ldc = hd,
                   .accumulate = key > start},
                  kernel_);
      }
      for (int64_t i = 0; i < rows; ++i) write(block_sum + i * hd, scale, to.row<bf16>(i), hd);
    };
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
      for (int64_t first = 0; first < T; first += kGradQueries) add_block(h, first);
    const auto finish = [&](const float* sum, float factor, View all) {
      for (int64_t first = 0; first < T; first += kGradQueries) {
        const View to = rows_from(all, first, kGradQueries);
        prefetch(to);
        transposed(sum + first, stride, to.rows, hd, block_sum);
        for (int64_t i = 0; i < to.rows; ++i)
          write(block_sum + i * hd, factor, to.row<bf16>(i), hd);
      }
    };
    finish(dk, scale, keys_of(op.dk));
    finish(dv, 1, keys_of(op.dv));
  });
}

}  // namespace isoflop::cpu
#endif
