#include <cmath>
#include <limits>
#include <utility>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attention_bf16.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/attention-inl.h"
#include "cpu/cpu_backend.hpp"

// Attention on bf16: the blocks of attention.cpp, their products made by gemm_bf16. Scores, softmax
// and all sums are fp32; the probabilities and the gradients of the scores are rounded to bf16
// before they are multiplied, as are all operands. Keys and values are packed once for all the
// queries of a tile, so blocks begin at whole panels of keys.
HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// Scores s become P = e^(scale s - max), relative to the running maximum of what is scaled; what
/// was summed before, in `out` too, is brought to the new maximum.
void softmax_block_bf16(const ScoreBlock& block, float scale, bf16* p, Running& running, View out) {
  for (int64_t i = 0; i < block.rows; ++i, p += kScoreStride) {
    const int64_t hidden = block.hidden(i), seen = block.seen(i);
    if (seen <= hidden) {
      clear_unseen(block, hidden, seen, p);
      continue;
    }
    float* scores = block.row(i) + hidden;
    pad(scores, seen - hidden);
    float &max = running.max[static_cast<size_t>(i)], &sum = running.sum[static_cast<size_t>(i)];
    const float top = std::max(max, scale * max_of(scores, seen - hidden));
    VFull added = hn::Zero(Full());
    for_each_whole(seen - hidden, [&](auto d, int64_t j) HWY_ATTR {
      const auto e =
          exp_negative(d, hn::MulSub(hn::LoadU(d, scores + j), hn::Set(d, scale), hn::Set(d, top)));
      store(e, d, p + hidden + j);
      added = hn::Add(added, e);
    });
    clear_unseen(block, hidden, seen, p);
    if (top > max && sum != 0) {
      const float factor = std::exp(max - top);
      sum *= factor;
      for_each(out.cols, [&](auto d, int64_t j) HWY_ATTR {
        float* at = out.row<float>(i) + j;
        hn::StoreU(hn::Mul(hn::LoadU(d, at), hn::Set(d, factor)), d, at);
      });
    }
    max = top;
    sum += hn::GetLane(hn::SumOfLanes(Full(), added));
  }
}

/// Scores s become P = e^(scale s - lse), and from dP dS = scale P (dP - delta).
void softmax_backward_block_bf16(const ScoreBlock& block,
                                 const float* grads,
                                 float scale,
                                 const float* lse,
                                 int64_t lse_stride,
                                 const float* delta,
                                 bf16* p,
                                 bf16* ds) {
  for (int64_t i = 0; i < block.rows; ++i) {
    const int64_t hidden = block.hidden(i), seen = std::max(hidden, block.seen(i));
    const float *scores = block.row(i), *dp = grads + i * kScoreStride;
    const float l = lse[i * lse_stride], row_delta = delta[i];
    for_each_whole(seen - hidden, [&](auto d, int64_t k) HWY_ATTR {
      const int64_t j = hidden + k;
      const auto e =
          exp_negative(d, hn::MulSub(hn::LoadU(d, scores + j), hn::Set(d, scale), hn::Set(d, l)));
      const auto centred = hn::Sub(hn::LoadU(d, dp + j), hn::Set(d, row_delta));
      store(e, d, p + j);
      store(hn::Mul(hn::Mul(e, hn::Set(d, scale)), centred), d, ds + j);
    });
    clear_unseen(block, hidden, seen, p);
    clear_unseen(block, hidden, seen, ds);
    p += kScoreStride;
    ds += kScoreStride;
  }
}

void row_dots_bf16(View a, View b, float* result) {
  for (int64_t i = 0; i < a.rows; ++i)
    result[i] = reduce_sum(a.cols, [&](auto d, int64_t j) HWY_ATTR {
      return hn::Mul(load(d, a.row<bf16>(i) + j), load(d, b.row<bf16>(i) + j));
    });
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

namespace {

constexpr int64_t kTileQueries = 512;  // of one head, which share its packed keys and values
static_assert(kKeyBlock % kPanel == 0);

/// Hands out pieces of a thread's scratch.
template <class T>
class Room {
 public:
  explicit Room(T* next) : next_(next) {}
  T* take(int64_t count) { return std::exchange(next_, next_ + count); }

 private:
  T* next_;
};

void pack_transposed(View source, bf16* panels) {
  for (int64_t panel = 0; panel < div_ceil(source.rows, kPanel); ++panel)
    pack_columns(source, panel, panels);
}

void pack_whole(View source, bf16* panels) {
  pack_rows({source, 0, source.rows, panels});
}

/// The panel in which key `key` begins.
const bf16* panel_of(const bf16* panels, int64_t key, int64_t inner) {
  return panels + key / kPanel * panel_stride(inner);
}

}  // namespace

void CpuBackend::attention_forward_bf16(const AttentionForward& op) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, past = s.keys - s.queries, hd = s.head_dim;
  const float scale = static_cast<float>(s.scale);
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_block_bf16);
  const auto write = HWY_DYNAMIC_DISPATCH(round_row_scaled);
  constexpr int64_t kBlock = kQueryBlock * kScoreStride;
  const int64_t floats = kBlock + kQueryBlock * hd;
  const int64_t halves = kBlock + packed_size(hd, s.keys) + packed_size(s.keys, hd);
  float* scratch = scratch_.floats(team_.size() * floats);
  bf16* scratch_bf16 = panels_.bf16s(team_.size() * halves);
  const int64_t pieces = div_ceil(s.queries, kTileQueries), sequences = s.batch * s.heads;
  team_.run(pieces * sequences, [&](int64_t tile, int thread) {
    const int64_t b = tile % sequences / s.heads, h = tile % s.heads;
    const int64_t begin = (pieces - 1 - tile / sequences) * kTileQueries;  // longest first
    const int64_t end = std::min(begin + kTileQueries, s.queries);
    const int64_t base = first_key(op.first_keys, b * s.queries + begin), keys = past + end - base;
    Room<float> room(scratch + thread * floats);
    Room<bf16> room_bf16(scratch_bf16 + thread * halves);
    float* scores = room.take(kBlock);
    bf16 *p = room_bf16.take(kBlock), *k = room_bf16.take(packed_size(hd, s.keys)),
         *v = room_bf16.take(packed_size(s.keys, hd));
    const View out = make_view(room.take(kQueryBlock * hd), kQueryBlock, hd);
    const auto keys_of = [&](View x) {
      return head_rows(x, b * s.key_stride() + base, keys, h / group, hd);
    };
    pack_transposed(keys_of(op.k), k);
    pack_whole(keys_of(op.v), v);
    for (int64_t first = begin; first < end; first += kQueryBlock) {
      const int64_t rows = std::min(kQueryBlock, end - first), row = b * s.queries + first;
      const View q = head_rows(op.q, row, rows, h, hd), to = head_rows(op.out, row, rows, h, hd);
      const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
      Running running;
      running.max.fill(std::numeric_limits<float>::lowest());
      running.sum.fill(0);
      // Keys count from `base` within the panels.
      const int64_t start = (first_key(op.first_keys, row) - base) / kPanel * kPanel;
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
          op.lse.row<float>(row + i)[h] = running.max[static_cast<size_t>(i)] + std::log(sum);
      }
    }
  });
}

// A tile owns the keys and values of one head of one sequence, as in fp32.
void CpuBackend::attention_backward_bf16(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t group = s.heads / s.kv_heads, T = s.queries, hd = s.head_dim;
  const float scale = static_cast<float>(s.scale);
  const auto softmax = HWY_DYNAMIC_DISPATCH(softmax_backward_block_bf16);
  const auto dots = HWY_DYNAMIC_DISPATCH(row_dots_bf16);
  const auto write = HWY_DYNAMIC_DISPATCH(round_row_scaled);
  constexpr int64_t kBlock = kQueryBlock * kScoreStride;
  const int64_t rows_packed = packed_size(kQueryBlock, hd), keys_packed = packed_size(T, hd),
                transposed = packed_size(hd, T);
  const int64_t floats = 2 * kBlock + 2 * T * hd + kQueryBlock * hd;
  const int64_t halves = 2 * kBlock + 2 * rows_packed + 2 * transposed + keys_packed;
  float* scratch = scratch_.floats(team_.size() * floats);
  bf16* scratch_bf16 = panels_.bf16s(team_.size() * halves);
  team_.run(s.batch * s.kv_heads, [&](int64_t tile, int thread) {
    const int64_t b = tile / s.kv_heads, kv_head = tile % s.kv_heads;
    const auto keys_of = [&](View x) { return head_rows(x, b * s.key_stride(), T, kv_head, hd); };
    Room<float> room(scratch + thread * floats);
    Room<bf16> room_bf16(scratch_bf16 + thread * halves);
    float *scores = room.take(kBlock), *grads = room.take(kBlock),
          *dq = room.take(kQueryBlock * hd), *dk = room.take(T * hd), *dv = room.take(T * hd);
    bf16 *p = room_bf16.take(kBlock), *ds = room_bf16.take(kBlock),
         *q_packed = room_bf16.take(rows_packed), *dout_packed = room_bf16.take(rows_packed),
         *k_transposed = room_bf16.take(transposed), *v_transposed = room_bf16.take(transposed),
         *k_packed = room_bf16.take(keys_packed);
    pack_transposed(keys_of(op.k), k_transposed);
    pack_transposed(keys_of(op.v), v_transposed);
    pack_whole(keys_of(op.k), k_packed);
    std::fill_n(dk, 2 * T * hd, 0.0f);  // and dv behind it
    std::array<float, kQueryBlock> delta;
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h)
      for (int64_t first = 0; first < T; first += kQueryBlock) {
        const int64_t rows = std::min(kQueryBlock, T - first), row = b * T + first;
        const auto block_of = [&](View x) { return head_rows(x, row, rows, h, hd); };
        const View q = block_of(op.q), dout = block_of(op.dout), to = block_of(op.dq);
        dots(dout, block_of(op.out), delta.data());
        pack_whole(q, q_packed);
        pack_whole(dout, dout_packed);
        const int32_t* first_keys = op.first_keys.empty() ? nullptr : op.first_keys.data() + row;
        const int64_t start = first_key(op.first_keys, row) / kPanel * kPanel;
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
          const auto add_transposed = [&](const bf16* block, const bf16* x, float* sum) {
            gemm_bf16({.m = count,
                       .n = hd,
                       .k = rows,
                       .a = block,
                       .lda = kScoreStride,
                       .transposed_a = true,
                       .b = x,
                       .c = sum + key * hd,
                       .ldc = hd,
                       .accumulate = true},
                      kernel_);
          };
          scores_of(q, k_transposed, scores);
          scores_of(dout, v_transposed, grads);
          softmax({scores, rows, count, first + 1 - key, first_keys, key}, grads, scale,
                  op.lse.row<float>(row) + h, op.lse.stride, delta.data(), p, ds);
          add_transposed(p, dout_packed, dv);
          add_transposed(ds, q_packed, dk);
          gemm_bf16({.m = rows,
                     .n = hd,
                     .k = count,
                     .a = ds,
                     .lda = kScoreStride,
                     .b = k_packed + key * kPanel,
                     .b_inner = T,
                     .c = dq,
                     .ldc = hd,
                     .accumulate = key > start},
                    kernel_);
        }
        for (int64_t i = 0; i < rows; ++i) write(dq + i * hd, 1, to.row<bf16>(i), hd);
      }
    const View to_k = keys_of(op.dk), to_v = keys_of(op.dv);
    for (int64_t j = 0; j < T; ++j) {
      write(dk + j * hd, 1, to_k.row<bf16>(j), hd);
      write(dv + j * hd, 1, to_v.row<bf16>(j), hd);
    }
  });
}

}  // namespace isoflop::cpu
#endif
