#include <array>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/attention-inl.h"
#include "cpu/cpu_backend.hpp"
#include "cpu/gemm.hpp"
#include "ops/check.hpp"

// Scores are made in blocks of kQueryBlock queries by kKeyBlock keys. Key blocks that no query of
// the block sees are skipped; the products of a block are calls of gemm, the softmax is below. In
// bf16 the blocks are attention_bf16.cpp's; few queries are done here, row by row, in either type.
HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

HWY_INLINE void scale_row(float* x, int64_t count, float factor) {
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i);
  });
}

/// Replaces x by e^(x - max) and returns their sum. Behind x there is room for a vector.
HWY_INLINE float exponentials(float* x, int64_t count, float max) {
  pad(x, count);
  VFull sum = hn::Zero(Full());
  for_each_whole(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto e = exp_negative(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, max)));
    hn::StoreU(e, d, x + i);
    sum = hn::Add(sum, e);
  });
  return hn::GetLane(hn::SumOfLanes(Full(), sum));
}

/// Scores become exponentials relative to the running maximum; what was summed before, in `out`
/// too, is brought to the new maximum.
void softmax_block(const ScoreBlock& block, Running& running, View out) {
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t hidden = block.hidden(i), seen = block.seen(i);
    float *row = block.row(i), &max = running.max[static_cast<size_t>(i)],
          &sum = running.sum[static_cast<size_t>(i)];
    if (seen <= hidden) {
      clear_unseen(block, hidden, seen, row);
      continue;
    }
    const float top = std::max(max, max_of(row + hidden, seen - hidden));
    const float added = exponentials(row + hidden, seen - hidden, top);
    clear_unseen(block, hidden, seen, row);
    if (top > max && sum != 0) {
      const float factor = std::exp(max - top);
      sum *= factor;
      scale_row(out.row<float>(i), out.cols, factor);
    }
    max = top;
    sum += added;
  }
}

void finish_rows(const Running& running, View out, float* lse, int64_t lse_stride) {
  for (int64_t i = 0; i < out.rows; ++i) {
    const float max = running.max[static_cast<size_t>(i)],
                sum = running.sum[static_cast<size_t>(i)];
    scale_row(out.row<float>(i), out.cols, 1 / sum);
    if (lse) lse[i * lse_stride] = max + std::log(sum);
  }
}

template <class T>
HWY_INLINE float dot(const T* a, const T* b, int64_t count) {
  return reduce_sum(
      count, [&](auto d, int64_t i) HWY_ATTR { return hn::Mul(load(d, a + i), load(d, b + i)); });
}

void row_dots(View a, View b, float* result) {
  for (int64_t i = 0; i < a.rows; ++i) result[i] = dot(a.row<float>(i), b.row<float>(i), a.cols);
}

/// Scores S become P = e^(S - lse), dP becomes dS = scale P (dP - delta).
void softmax_backward_block(const ScoreBlock& block,
                            float* grads,
                            const float* lse,
                            int64_t lse_stride,
                            const float* delta,
                            float scale) {
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t hidden = block.hidden(i), seen = std::max(hidden, block.seen(i));
    float *row = block.row(i), *grad_row = grads + i * kScoreStride;
    float *p = row + hidden, *dp = grad_row + hidden;
    const float l = lse[i * lse_stride], row_delta = delta[i];
    for_each_whole(seen - hidden, [&](auto d, int64_t j) HWY_ATTR {
      const auto e = exp_negative(d, hn::Sub(hn::LoadU(d, p + j), hn::Set(d, l)));
      const auto centred = hn::Sub(hn::LoadU(d, dp + j), hn::Set(d, row_delta));
      hn::StoreU(e, d, p + j);
      hn::StoreU(hn::Mul(hn::Mul(e, hn::Set(d, scale)), centred), d, dp + j);
    });
    for (float* values : {row, grad_row}) clear_unseen(block, hidden, seen, values);
  }
}

/// out += sum over j of p[j] * v[j]: `kVectors` vectors of the head at a time stay in registers.
template <class T, int kVectors>
HWY_INLINE void add_weighted(const float* p, View v, int64_t column, float* out) {
  const Full d;
  const int64_t step = lanes();
  VFull sum[kVectors];
  for (int k = 0; k < kVectors; ++k) sum[k] = hn::LoadU(d, out + column + k * step);
  for (int64_t j = 0; j < v.rows; ++j) {
    const T* row = v.row<T>(j) + column;
    const VFull weight = hn::Set(d, p[j]);
    for (int k = 0; k < kVectors; ++k) sum[k] = hn::MulAdd(weight, load(d, row + k * step), sum[k]);
  }
  for (int k = 0; k < kVectors; ++k) hn::StoreU(sum[k], d, out + column + k * step);
}

/// One query against all keys it sees, for decoding; `out` has room for head_dim.
template <class T>
void attend_row_of(const T* q, View k, View v, float scale, float* out, float* lse) {
  constexpr int64_t kKeys = 256;
  const int64_t hd = k.cols, step = lanes();
  float scores[kKeys + kScoreStride - kKeyBlock], max = std::numeric_limits<float>::lowest(),
                                                  sum = 0;
  std::fill_n(out, hd, 0.0f);
  for (int64_t first = 0; first < k.rows; first += kKeys) {
    const int64_t count = std::min(kKeys, k.rows - first);
    for (int64_t j = 0; j < count; ++j) scores[j] = scale * dot(q, k.row<T>(first + j), hd);
    const float top = std::max(max, max_of(scores, count));
    const float factor = std::exp(max - top);
    sum = sum * factor + exponentials(scores, count, top);
    max = top;
    scale_row(out, hd, factor);
    const View block = v.slice(first, count);
    int64_t column = 0;
    for (; column + 4 * step <= hd; column += 4 * step)
      add_weighted<T, 4>(scores, block, column, out);
    for (; column + step <= hd; column += step) add_weighted<T, 1>(scores, block, column, out);
    for (; column < hd; ++column)
      for (int64_t j = 0; j < count; ++j)
        out[column] += scores[j] * value_of(block.row<T>(j)[column]);
  }
  scale_row(out, hd, 1 / sum);
  if (lse) *lse = max + std::log(sum);
}
void attend_row(View q, View k, View v, float scale, float* out, float* lse) {
  by_type(q.dtype, [&](auto zero) HWY_ATTR {
    using T = decltype(zero);
    attend_row_of(q.as<T>(), k, v, scale, out, lse);
  });
}

void round_row(const float* from, View to) {
  for_each(to.cols, [&](auto d, int64_t i)
                        HWY_ATTR { store(hn::LoadU(d, from + i), d, to.as<bf16>() + i); });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(softmax_block);
HWY_EXPORT(finish_rows);
HWY_EXPORT(row_dots);
HWY_EXPORT(softmax_backward_block);
HWY_EXPORT(attend_row);
HWY_EXPORT(round_row);

namespace {

constexpr int64_t kFewQueries = 8;  // fewer than this: row by row, no blocks

/// C = alpha A B^T, A^T B + C, or A B: the three products of attention, on views.
void scores_of(View q, View k, float scale, float* scores) {
  gemm({.transpose_b = 'T',
        .m = q.rows,
        .n = k.rows,
        .k = q.cols,
        .alpha = scale,
        .a = q.as<float>(),
        .lda = q.stride,
        .b = k.as<float>(),
        .ldb = k.stride,
        .c = scores,
        .ldc = kScoreStride});
}
void add_transposed(const float* scores, View rows, View sum) {
  gemm({.transpose_a = 'T',
        .m = sum.rows,
        .n = sum.cols,
        .k = rows.rows,
        .a = scores,
        .lda = kScoreStride,
        .b = rows.as<float>(),
        .ldb = rows.stride,
        .beta = 1,
        .c = sum.as<float>(),
        .ldc = sum.stride});
}
void combine(const float* scores, View keys, View result, bool accumulate) {
  gemm({.m = result.rows,
        .n = result.cols,
        .k = keys.rows,
        .a = scores,
        .lda = kScoreStride,
        .b = keys.as<float>(),
        .ldb = keys.stride,
        .beta = accumulate ? 1.0f : 0.0f,
        .c = result.as<float>(),
        .ldc = result.stride});
}

}  // namespace

void CpuBackend::attention_forward(const AttentionForward& op) {
  check(op);
  if (op.shape.queries < kFewQueries)
    attention_few(op);
  else if (op.q.dtype == DType::bf16)
    attention_forward_bf16(op);
  else
    attention_forward_blocks(op);
}

void CpuBackend::attention_few(const AttentionForward& op) {
  const AttentionShape& s = op.shape;
  const auto kernel = HWY_DYNAMIC_DISPATCH(attend_row);
  const auto write = HWY_DYNAMIC_DISPATCH(round_row);
  const float scale = static_cast<float>(s.scale);
  float* sums = scratch_.floats(team_.size() * s.head_dim);
  team_.run(s.batch * s.heads, [&](int64_t tile, int thread) {
    const int64_t b = tile / s.heads, h = tile % s.heads, kv_head = h * s.kv_heads / s.heads;
    for (int64_t i = 0; i < s.queries; ++i) {
      const int64_t r = b * s.queries + i;
      const int64_t from = first_key(op.first_keys, r), seen = s.keys - s.queries + i + 1 - from;
      const auto keys_of = [&](View x) {
        return head_rows(x, b * s.key_stride() + from, seen, kv_head, s.head_dim);
      };
      const View out = head_rows(op.out, r, 1, h, s.head_dim);
      float* sum = out.dtype == DType::f32 ? out.as<float>() : sums + thread * s.head_dim;
      kernel(head_rows(op.q, r, 1, h, s.head_dim), keys_of(op.k), keys_of(op.v), scale, sum,
             op.lse ? op.lse.row<float>(r) + h : nullptr);
      if (out.dtype != DType::f32) write(sum, out);
    }
  });
}

void CpuBackend::attention_forward_blocks(const AttentionForward& op) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, past = s.keys - s.queries;
  const float scale = static_cast<float>(s.scale);
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_block);
  const auto finish = HWY_DYNAMIC_DISPATCH(finish_rows);
  constexpr int64_t kRoom = kQueryBlock * kScoreStride;
  float* scratch = scratch_.floats(team_.size() * kRoom);
  const int64_t blocks = div_ceil(s.queries, kQueryBlock), sequences = s.batch * s.heads;
  team_.run(blocks * sequences, [&](int64_t tile, int thread) {
    const int64_t b = tile % sequences / s.heads, h = tile % s.heads;
    const int64_t first = (blocks - 1 - tile / sequences) * kQueryBlock;  // longest first
    const int64_t rows = std::min(kQueryBlock, s.queries - first), row = b * s.queries + first;
    const auto keys_of = [&](View x, int64_t key, int64_t count) {
      return head_rows(x, b * s.key_stride() + key, count, h / group, s.head_dim);
    };
    float* scores = scratch + thread * kRoom;
    const View q = head_rows(op.q, row, rows, h, s.head_dim);
    const View out = head_rows(op.out, row, rows, h, s.head_dim);
    Running running;
    running.max.fill(std::numeric_limits<float>::lowest());
    running.sum.fill(0);
    const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
    const int64_t start = first_key(op.first_keys, row);
    const int64_t seen = past + first + rows;  // by the last row
    for (int64_t key = start; key < seen; key += kKeyBlock) {
      const int64_t keys = std::min(kKeyBlock, seen - key);
      scores_of(q, keys_of(op.k, key, keys), scale, scores);
      softmax({scores, rows, keys, past + first + 1 - key, first_keys, key}, running, out);
      combine(scores, keys_of(op.v, key, keys), out, key > start);
    }
    finish(running, out, op.lse ? op.lse.row<float>(row) + h : nullptr, op.lse.stride);
  });
}

void CpuBackend::attention_backward(const AttentionBackward& op) {
  check(op);
  if (op.q.dtype == DType::bf16)
    attention_backward_bf16(op);
  else
    attention_backward_blocks(op);
}

// A tile owns the keys and values of one head of one sequence and goes through everything that
// reads them in order, so each dk and dv is summed by one thread in one order.
void CpuBackend::attention_backward_blocks(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, T = s.queries, hd = s.head_dim;
  const float scale = static_cast<float>(s.scale);
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_backward_block);
  const auto dots = HWY_DYNAMIC_DISPATCH(row_dots);
  constexpr int64_t kBlock = kQueryBlock * kScoreStride;
  float* scratch = scratch_.floats(team_.size() * 2 * kBlock);
  team_.run(s.batch * s.kv_heads, [&](int64_t tile, int thread) {
    const int64_t b = tile / s.kv_heads, kv_head = tile % s.kv_heads;
    const auto keys_of = [&](View x) { return head_rows(x, b * s.key_stride(), T, kv_head, hd); };
    float *scores = scratch + thread * 2 * kBlock, *grads = scores + kBlock;
    const View k = keys_of(op.k), v = keys_of(op.v), dk = keys_of(op.dk), dv = keys_of(op.dv);
    for (int64_t j = 0; j < T; ++j) {
      std::fill_n(dk.row<float>(j), hd, 0.0f);
      std::fill_n(dv.row<float>(j), hd, 0.0f);
    }
    std::array<float, kQueryBlock> delta;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
      for (int64_t first = 0; first < T; first += kQueryBlock) {
        const int64_t rows = std::min(kQueryBlock, T - first), row = b * T + first;
        const auto block_of = [&](View x) { return head_rows(x, row, rows, h, hd); };
        const View q = block_of(op.q), dout = block_of(op.dout);
        const float* lse = op.lse.row<float>(row) + h;
        dots(dout, block_of(op.out), delta.data());
        const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
        const int64_t start = first_key(op.first_keys, row);
        for (int64_t key = start; key < first + rows; key += kKeyBlock) {
          const int64_t keys = std::min(kKeyBlock, first + rows - key);
          scores_of(q, k.slice(key, keys), scale, scores);
          scores_of(dout, v.slice(key, keys), 1, grads);
          softmax({scores, rows, keys, first + 1 - key, first_keys, key}, grads, lse, op.lse.stride,
                  delta.data(), scale);
          add_transposed(scores, dout, dv.slice(key, keys));
          add_transposed(grads, q, dk.slice(key, keys));
          combine(grads, k.slice(key, keys), block_of(op.dq), key > start);
        }
      }
  });
}

}  // namespace isoflop::cpu
#endif
