#include <array>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention.cpp"
#include "cpu/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/gemm.hpp"
#include "cpu/math-inl.h"
#include "ops/check.hpp"

// Scores are made in blocks of kQueryBlock queries by kKeyBlock keys. Key blocks that no query of
// the block sees are skipped; the products of a block are calls of gemm, the softmax is below. All
// of it is fp32: what is stored in bf16 is widened piece by piece into scratch of the thread.
#ifndef ISOFLOP_CPU_ATTENTION_BLOCKS
#define ISOFLOP_CPU_ATTENTION_BLOCKS
namespace isoflop::cpu {

constexpr int64_t kQueryBlock = 64;
constexpr int64_t kKeyBlock = 512;
constexpr int64_t kScoreStride =
    kKeyBlock + 16;  // not a power of two: rows in different cache sets

/// Scores of one block; row i sees its keys from first[i] - key (0 without `first`) up to, not
/// including, visible + i.
struct ScoreBlock {
  float* scores;
  int64_t rows, keys, visible;
  const int32_t* first;  // per row, counted from the sequence's first key; may be null
  int64_t key;           // the block's first

  float* row(int64_t i) const { return scores + i * kScoreStride; }
  int64_t seen(int64_t i) const { return std::clamp<int64_t>(visible + i, 0, keys); }
  int64_t hidden(int64_t i) const {
    return first ? std::clamp<int64_t>(first[i] - key, 0, keys) : 0;
  }
};

/// What the online softmax carries from one key block to the next, per query.
struct Running {
  std::array<float, kQueryBlock> max, sum;
};

}  // namespace isoflop::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

HWY_INLINE void scale_row(float* x, int64_t count, float factor) {
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i);
  });
}

/// Replaces x by e^(x - max) and returns their sum.
HWY_INLINE float exponentials(float* x, int64_t count, float max) {
  return reduce_sum(count, [&](auto d, int64_t i) HWY_ATTR {
    const auto e = exp_negative(d, hn::Sub(hn::LoadU(d, x + i), hn::Set(d, max)));
    hn::StoreU(e, d, x + i);
    return e;
  });
}

/// Scores become exponentials relative to the running maximum; what was summed before, in `out`
/// too, is brought to the new maximum.
void softmax_block(const ScoreBlock& block, Running& running, View out) {
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t hidden = block.hidden(i), seen = block.seen(i);
    float *row = block.row(i), &max = running.max[static_cast<size_t>(i)],
          &sum = running.sum[static_cast<size_t>(i)];
    std::fill(row, row + hidden, 0.0f);
    std::fill(row + seen, row + block.keys, 0.0f);
    if (seen <= hidden) continue;
    const float top = std::max(max, max_of(row + hidden, seen - hidden));
    const float added = exponentials(row + hidden, seen - hidden, top);
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
    for_each(seen - hidden, [&](auto d, int64_t j) HWY_ATTR {
      const auto e = exp_negative(d, hn::Sub(hn::LoadU(d, p + j), hn::Set(d, l)));
      const auto centred = hn::Sub(hn::LoadU(d, dp + j), hn::Set(d, row_delta));
      hn::StoreU(e, d, p + j);
      hn::StoreU(hn::Mul(hn::Mul(e, hn::Set(d, scale)), centred), d, dp + j);
    });
    for (float* values : {row, grad_row}) {
      std::fill(values, values + hidden, 0.0f);
      std::fill(values + seen, values + block.keys, 0.0f);
    }
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
  float scores[kKeys], max = std::numeric_limits<float>::lowest(), sum = 0;
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

void widen(View from, View to) {
  for (int64_t r = 0; r < from.rows; ++r) {
    const bf16* x = from.row<bf16>(r);
    float* y = to.row<float>(r);
    for_each(from.cols, [&](auto d, int64_t i) HWY_ATTR { store(load(d, x + i), d, y + i); });
  }
}

void round_rows(View from, View to) {
  for (int64_t r = 0; r < from.rows; ++r) {
    const float* x = from.row<float>(r);
    bf16* y = to.row<bf16>(r);
    for_each(from.cols, [&](auto d, int64_t i) HWY_ATTR { store(load(d, x + i), d, y + i); });
  }
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
HWY_EXPORT(widen);
HWY_EXPORT(round_rows);

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

/// fp32 views of what a tile works on. What is fp32 already is used where it lies; what is bf16
/// gets room in scratch, from which results are rounded once.
class Fp32Room {
 public:
  explicit Fp32Room(float* room) : next_(room) {}
  static int64_t size(View like, int64_t rows) {
    return like.dtype == DType::f32 ? 0 : rows * like.cols;
  }

  View result(View to) {
    if (to.dtype == DType::f32) return to;
    const View view = make_view(next_, to.rows, to.cols);
    next_ += view.size();
    return view;
  }
  View input(View from) {
    const View view = result(from);
    if (from.dtype != DType::f32) HWY_DYNAMIC_DISPATCH(widen)(from, view);
    return view;
  }
  static void write(View result, View to) {
    if (to.dtype != DType::f32) HWY_DYNAMIC_DISPATCH(round_rows)(result, to);
  }

 private:
  float* next_;
};

/// The first key of its sequence that any query from row `r` on sees.
int64_t first_key(FirstKeys first_keys, int64_t r) {
  return first_keys.empty() ? 0 : first_keys[static_cast<size_t>(r)];
}

/// Rows of one sequence and columns of one head.
View head_rows(View x, int64_t first_row, int64_t count, int64_t head, int64_t head_dim) {
  return x.slice(first_row, count).columns(head * head_dim, head_dim);
}

}  // namespace

void CpuBackend::attention_forward(const AttentionForward& op) {
  check(op);
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, past = s.keys - s.queries;
  const float scale = static_cast<float>(s.scale);
  const auto keys_of = [&](View x, int64_t b, int64_t h) {
    return head_rows(x, b * s.key_stride(), s.keys, h / group, s.head_dim);
  };
  if (s.queries < kFewQueries) {
    const auto kernel = HWY_DYNAMIC_DISPATCH(attend_row);
    float* rows = scratch_.floats(team_.size() * s.head_dim);
    team_.run(s.batch * s.heads, [&](int64_t tile, int thread) {
      const int64_t b = tile / s.heads, h = tile % s.heads;
      const View k = keys_of(op.k, b, h), v = keys_of(op.v, b, h);
      for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t r = b * s.queries + i;
        const int64_t from = first_key(op.first_keys, r), seen = past + i + 1 - from;
        const View out = head_rows(op.out, r, 1, h, s.head_dim);
        const View sum = Fp32Room(rows + thread * s.head_dim).result(out);
        kernel(head_rows(op.q, r, 1, h, s.head_dim), k.slice(from, seen), v.slice(from, seen),
               scale, sum.as<float>(), op.lse ? op.lse.row<float>(r) + h : nullptr);
        Fp32Room::write(sum, out);
      }
    });
    return;
  }
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_block);
  const auto finish = HWY_DYNAMIC_DISPATCH(finish_rows);
  const View head = head_rows(op.q, 0, 0, 0, s.head_dim);
  const int64_t room = kQueryBlock * kScoreStride + 2 * Fp32Room::size(head, kQueryBlock) +
                       2 * Fp32Room::size(head, kKeyBlock);
  float* scratch = scratch_.floats(team_.size() * room);
  const int64_t blocks = div_ceil(s.queries, kQueryBlock), sequences = s.batch * s.heads;
  team_.run(blocks * sequences, [&](int64_t tile, int thread) {
    const int64_t b = tile % sequences / s.heads, h = tile % s.heads;
    const int64_t first = (blocks - 1 - tile / sequences) * kQueryBlock;  // longest first
    const int64_t rows = std::min(kQueryBlock, s.queries - first), row = b * s.queries + first;
    float* scores = scratch + thread * room;
    Fp32Room block(scores + kQueryBlock * kScoreStride);
    const View q = block.input(head_rows(op.q, row, rows, h, s.head_dim));
    const View to = head_rows(op.out, row, rows, h, s.head_dim), out = block.result(to);
    const View k = keys_of(op.k, b, h), v = keys_of(op.v, b, h);
    Running running;
    running.max.fill(std::numeric_limits<float>::lowest());
    running.sum.fill(0);
    const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
    const int64_t start = first_key(op.first_keys, row);
    const int64_t seen = past + first + rows;  // by the last row
    for (int64_t key = start; key < seen; key += kKeyBlock) {
      const int64_t keys = std::min(kKeyBlock, seen - key);
      Fp32Room piece = block;
      scores_of(q, piece.input(k.slice(key, keys)), scale, scores);
      softmax({scores, rows, keys, past + first + 1 - key, first_keys, key}, running, out);
      combine(scores, piece.input(v.slice(key, keys)), out, key > start);
    }
    finish(running, out, op.lse ? op.lse.row<float>(row) + h : nullptr, op.lse.stride);
    Fp32Room::write(out, to);
  });
}

// A tile owns the keys and values of one head of one sequence and goes through everything that
// reads them in order, so each dk and dv is summed by one thread in one order.
void CpuBackend::attention_backward(const AttentionBackward& op) {
  check(op);
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, T = s.queries, hd = s.head_dim;
  const float scale = static_cast<float>(s.scale);
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_backward_block);
  const auto dots = HWY_DYNAMIC_DISPATCH(row_dots);
  constexpr int64_t kBlock = kQueryBlock * kScoreStride;
  const View head = head_rows(op.q, 0, 0, 0, hd);
  const int64_t room =
      2 * kBlock + 4 * Fp32Room::size(head, kQueryBlock) + 4 * Fp32Room::size(head, T);
  float* scratch = scratch_.floats(team_.size() * room);
  team_.run(s.batch * s.kv_heads, [&](int64_t tile, int thread) {
    const int64_t b = tile / s.kv_heads, kv_head = tile % s.kv_heads;
    const auto keys_of = [&](View x) { return head_rows(x, b * s.key_stride(), T, kv_head, hd); };
    float *scores = scratch + thread * room, *grads = scores + kBlock;
    Fp32Room sequence(grads + kBlock);
    const View k = sequence.input(keys_of(op.k)), v = sequence.input(keys_of(op.v));
    const View dk = sequence.result(keys_of(op.dk)), dv = sequence.result(keys_of(op.dv));
    for (int64_t j = 0; j < T; ++j) {
      std::fill_n(dk.row<float>(j), hd, 0.0f);
      std::fill_n(dv.row<float>(j), hd, 0.0f);
    }
    std::array<float, kQueryBlock> delta;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
      for (int64_t first = 0; first < T; first += kQueryBlock) {
        const int64_t rows = std::min(kQueryBlock, T - first), row = b * T + first;
        const auto block_of = [&](View x) { return head_rows(x, row, rows, h, hd); };
        Fp32Room block = sequence;
        const View q = block.input(block_of(op.q)), dout = block.input(block_of(op.dout));
        const View dq = block.result(block_of(op.dq));
        const float* lse = op.lse.row<float>(row) + h;
        dots(dout, block.input(block_of(op.out)), delta.data());
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
          combine(grads, k.slice(key, keys), dq, key > start);
        }
        Fp32Room::write(dq, block_of(op.dq));
      }
    Fp32Room::write(dk, keys_of(op.dk));
    Fp32Room::write(dv, keys_of(op.dv));
  });
}

}  // namespace isoflop::cpu
#endif
