// Flash attention on mma.sync (Dao et al. 2022; Dao 2023): any head size up to 256, grouped
// queries, document masks, caches. Contract in ops/attention.hpp. cuDNN is faster where it takes
// the shape; this is what remains everywhere else, and what cuDNN is checked against.
//
// Every block has four warps and owns 64 rows: of queries (forward, dq) or of keys (dk and dv).
// A warp holds 16 of them in registers as mma accumulators and walks over tiles of the other side
// in shared memory. Each result has one owner that sums in a fixed order, so there are no atomics
// and two runs give the same bits; the price is that the backward computes the scores twice.
//
// Fragments of mma.m16n8k16, with g = lane / 4 and q = lane % 4: an accumulator holds rows g and
// g + 8, columns 2q and 2q + 1 of 16 x 8. Two accumulators side by side, rounded to bf16, are the
// A fragment of a 16 x 16 matrix, which is how P and dS go from one product into the next.
#pragma once
#include "cuda/rows.hpp"
#include "ops/attention.hpp"

namespace isoflop::gpu {

inline constexpr int kOwned = 64;  // rows of a block
inline constexpr int kAttentionThreads = 4 * kWarp;
inline constexpr int kMaxHeadDim = 256;

struct AttentionArgs {
  Rows<const bf16> q, k, v, out, dout;
  Rows<bf16> y, dq, dk, dv;
  Rows<float> lse, delta;     // (B*Tq, H); delta is the sum of dout * out
  const int32_t* first_keys;  // may be null
  int64_t batch, queries, keys, key_stride, heads, kv_heads, head_dim;
  float scale;
};

/// A tile in shared memory: rows of `width` entries, 16 bytes apart from a multiple of the banks.
template <int kWidth>
struct Tile {
  static constexpr int kStride = kWidth + 8;
  bf16* data;

  static constexpr size_t bytes(int rows) {
    return sizeof(bf16) * kStride * static_cast<size_t>(rows);
  }
  ISOFLOP_KERNEL bf16* at(int row, int col) const { return data + row * kStride + col; }

  /// Rows first .. first+count-1 of a matrix of `rows` rows of `cols` entries; zeroes beyond.
  template <class Thread>
  ISOFLOP_KERNEL void fill(Thread& t,
                           const bf16* from,
                           int64_t stride,
                           int64_t first,
                           int count,
                           int64_t rows,
                           int64_t cols) const {
    const bool eights =
        cols % 8 == 0 && stride % 8 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
    for (int i = t.thread(); i < count * (kWidth / 8); i += t.threads()) {
      const int row = i / (kWidth / 8), col = i % (kWidth / 8) * 8;
      Words words = {{0, 0, 0, 0}};
      const bf16* source = from + (first + row) * stride + col;
      if (first + row < rows && col < cols) {
        if (eights) {
          words = *reinterpret_cast<const Words*>(source);
        } else {
          for (int j = 0; j < 8 && col + j < cols; ++j)
            words.w[j / 2] |= uint32_t{source[j].bits} << (16 * (j % 2));
        }
      }
      *reinterpret_cast<Words*>(at(row, col)) = words;
    }
  }

  /// A fragment of rows row .. row+15, columns col .. col+15.
  template <class Thread>
  ISOFLOP_KERNEL void load_a(Thread& t, int row, int col, uint32_t (&a)[4]) const {
    const int lane = t.thread() % kWarp;
    t.ldmatrix(a, at(row + lane % 16, col + lane / 16 * 8));
  }
  /// B fragments of the transpose: columns n .. n+15 of B are rows of the tile, its rows k .. k+15
  /// columns. b[0], b[1] belong to the first eight columns, b[2], b[3] to the next.
  template <class Thread>
  ISOFLOP_KERNEL void load_b_transposed(Thread& t, int n, int k, uint32_t (&b)[4]) const {
    const int lane = t.thread() % kWarp;
    t.ldmatrix(b, at(n + lane % 8 + lane / 16 * 8, k + lane / 8 % 2 * 8));
  }
  /// B fragments of the tile itself: rows k .. k+15, columns n .. n+15.
  template <class Thread>
  ISOFLOP_KERNEL void load_b(Thread& t, int k, int n, uint32_t (&b)[4]) const {
    const int lane = t.thread() % kWarp;
    t.ldmatrix_transposed(b, at(k + lane % 8 + lane / 8 % 2 * 8, n + lane / 16 * 8));
  }
};

/// c (16, 8 kColumns) = rows row .. row+15 of `a` times the transpose of `b`.
template <int kColumns, int kWidth, class Thread>
ISOFLOP_KERNEL void multiply_transposed(
    Thread& t, const Tile<kWidth>& a, int row, const Tile<kWidth>& b, float (&c)[kColumns][4]) {
  ISOFLOP_UNROLL for (int n = 0; n < kColumns; ++n) ISOFLOP_UNROLL for (int i = 0; i < 4; ++i)
      c[n][i] = 0;
  ISOFLOP_UNROLL for (int k = 0; k < kWidth; k += 16) {
    uint32_t fa[4];
    a.load_a(t, row, k, fa);
    ISOFLOP_UNROLL for (int n = 0; n < kColumns; n += 2) {
      uint32_t fb[4];
      b.load_b_transposed(t, 8 * n, k, fb);
      t.mma(c[n], fa, fb[0], fb[1]);
      t.mma(c[n + 1], fa, fb[2], fb[3]);
    }
  }
}

/// c (16, 8 kOut) += p (16, 8 kColumns, rounded to bf16) times columns first .. of `b`.
template <int kColumns, int kOut, int kWidth, class Thread>
ISOFLOP_KERNEL void multiply_add(Thread& t,
                                 const float (&p)[kColumns][4],
                                 const Tile<kWidth>& b,
                                 int first,
                                 float (&c)[kOut][4]) {
  ISOFLOP_UNROLL for (int k = 0; k < kColumns; k += 2) {
    const uint32_t fa[4] = {pack_bf16(p[k][0], p[k][1]), pack_bf16(p[k][2], p[k][3]),
                            pack_bf16(p[k + 1][0], p[k + 1][1]),
                            pack_bf16(p[k + 1][2], p[k + 1][3])};
    ISOFLOP_UNROLL for (int n = 0; n < kOut; n += 2) {
      uint32_t fb[4];
      b.load_b(t, 8 * k, first + 8 * n, fb);
      t.mma(c[n], fa, fb[0], fb[1]);
      t.mma(c[n + 1], fa, fb[2], fb[3]);
    }
  }
}

/// What a block works on, from its number: the longest rows of tiles first, so that the last blocks
/// to start are short. `part` is a strip of kOut columns of the result.
struct AttentionBlock {
  int64_t tile, batch, head, part;

  ISOFLOP_KERNEL AttentionBlock(
      int64_t block, int64_t tiles, int64_t heads, int parts, bool last_first) {
    part = block % parts;
    head = block / parts % heads;
    const int64_t rest = block / parts / heads;
    tile = last_first ? tiles - 1 - rest % tiles : rest % tiles;
    batch = rest / tiles;
  }
};

/// Whether query `i` of a sequence sees key `j`.
ISOFLOP_KERNEL bool sees(const AttentionArgs& a, int64_t batch, int64_t i, int64_t j) {
  if (i >= a.queries || j > a.keys - a.queries + i) return false;
  return !a.first_keys || j >= a.first_keys[batch * a.queries + i];
}

/// Row and column of entry `i` of accumulator `n` within a warp's 16 rows.
ISOFLOP_KERNEL int row_of(int lane, int i) {
  return lane / 4 + i / 2 * 8;
}
ISOFLOP_KERNEL int col_of(int lane, int n, int i) {
  return 8 * n + lane % 4 * 2 + i % 2;
}

/// Accumulators to rows of memory, `cols` columns from `first` on.
template <int kOut, class Thread>
ISOFLOP_KERNEL void write_rows(Thread& t,
                               const float (&c)[kOut][4],
                               const float (&factor)[2],
                               bf16* to,
                               int64_t stride,
                               int64_t first_row,
                               int64_t rows,
                               int64_t first_col,
                               int64_t cols) {
  const int lane = t.thread() % kWarp;
  ISOFLOP_UNROLL for (int n = 0; n < kOut; ++n) ISOFLOP_UNROLL for (int i = 0; i < 4; ++i) {
    const int64_t row = first_row + row_of(lane, i), col = first_col + col_of(lane, n, i);
    if (row < rows && col < cols) store(to + row * stride + col, c[n][i] * factor[i / 2]);
  }
}

/// Sum or maximum over the four lanes that share rows of an accumulator.
template <class Thread>
ISOFLOP_KERNEL float quad_sum(Thread& t, float x) {
  x += t.shuffle_xor(x, 1);
  return x + t.shuffle_xor(x, 2);
}
template <class Thread>
ISOFLOP_KERNEL float quad_max(Thread& t, float x) {
  x = fmaxf(x, t.shuffle_xor(x, 1));
  return fmaxf(x, t.shuffle_xor(x, 2));
}

/// Keys a tile of queries starts at: those of its first query, whole tiles of them.
ISOFLOP_KERNEL int64_t first_tile_of_keys(const AttentionArgs& a,
                                          int64_t batch,
                                          int64_t i,
                                          int tile) {
  return a.first_keys ? a.first_keys[batch * a.queries + i] / tile * tile : 0;
}

template <int kHeadDim, int kOut, int kKeys>
struct AttentionForwardKernel {
  static constexpr int kParts = kHeadDim / kOut;
  AttentionArgs a;

  static constexpr size_t shared() {
    return Tile<kHeadDim>::bytes(kOwned) + 2 * Tile<kHeadDim>::bytes(kKeys);
  }
  static int64_t blocks(const AttentionArgs& a) {
    return a.batch * a.heads * kParts * div_ceil(a.queries, int64_t{kOwned});
  }

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const AttentionBlock block(t.block(), (a.queries + kOwned - 1) / kOwned, a.heads, kParts, true);
    const int64_t kv_head = block.head / (a.heads / a.kv_heads), hd = a.head_dim;
    const int lane = t.thread() % kWarp, warp_row = t.thread() / kWarp * 16;
    bf16* memory = reinterpret_cast<bf16*>(t.shared());
    const Tile<kHeadDim> q{memory}, k{q.at(kOwned, 0)}, v{k.at(kKeys, 0)};
    const bf16* keys = a.k.at(block.batch * a.key_stride, kv_head * hd);
    const bf16* values = a.v.at(block.batch * a.key_stride, kv_head * hd);
    const int64_t first_query = block.tile * kOwned;
    q.fill(t, a.q.at(block.batch * a.queries, block.head * hd), a.q.stride, first_query, kOwned,
           a.queries, hd);

    float o[kOut / 8][4] = {};
    float max[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    const int64_t last_query =
        first_query + kOwned < a.queries ? first_query + kOwned - 1 : a.queries - 1;
    const int64_t end = a.keys - a.queries + last_query + 1;
    for (int64_t j0 = first_tile_of_keys(a, block.batch, first_query, kKeys); j0 < end;
         j0 += kKeys) {
      t.sync();  // the tile before is used up; the first time: nothing to wait for
      k.fill(t, keys, a.k.stride, j0, kKeys, a.keys, hd);
      v.fill(t, values, a.v.stride, j0, kKeys, a.keys, hd);
      t.sync();
      float s[kKeys / 8][4];
      multiply_transposed<kKeys / 8>(t, q, warp_row, k, s);
      float top[2] = {max[0], max[1]};
      ISOFLOP_UNROLL for (int n = 0; n < kKeys / 8; ++n)
          ISOFLOP_UNROLL for (int i = 0; i < 4; ++i) {
        const int64_t query = first_query + warp_row + row_of(lane, i);
        s[n][i] =
            sees(a, block.batch, query, j0 + col_of(lane, n, i)) ? s[n][i] * a.scale : -INFINITY;
        top[i / 2] = fmaxf(top[i / 2], s[n][i]);
      }
      ISOFLOP_UNROLL for (int h = 0; h < 2; ++h) {
        top[h] = quad_max(t, top[h]);
        const float shift = top[h] == -INFINITY ? 0 : expf(max[h] - top[h]);
        sum[h] *= shift;
        max[h] = top[h];
        ISOFLOP_UNROLL for (int n = 0; n < kOut / 8; ++n) {
          o[n][2 * h] *= shift;
          o[n][2 * h + 1] *= shift;
        }
      }
      ISOFLOP_UNROLL for (int n = 0; n < kKeys / 8; ++n)
          ISOFLOP_UNROLL for (int i = 0; i < 4; ++i) {
        s[n][i] = s[n][i] == -INFINITY ? 0 : expf(s[n][i] - max[i / 2]);
        sum[i / 2] += s[n][i];
      }
      multiply_add(t, s, v, static_cast<int>(block.part) * kOut, o);
    }
    float inverse[2];
    ISOFLOP_UNROLL for (int h = 0; h < 2; ++h) {
      const float total = quad_sum(t, sum[h]);
      inverse[h] = total > 0 ? 1 / total : 0;
      const int64_t query = first_query + warp_row + row_of(lane, 2 * h);
      if (a.lse.data && lane % 4 == 0 && query < a.queries && block.part == 0)
        *a.lse.at(block.batch * a.queries + query, block.head) = max[h] + logf(total);
    }
    write_rows(t, o, inverse, a.y.at(block.batch * a.queries, block.head * hd), a.y.stride,
               first_query + warp_row, a.queries, block.part * kOut, hd);
  }
};

/// delta = the sum over a head of dout * out, one warp a (row, head).
struct AttentionDeltaKernel {
  AttentionArgs a;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t at = t.block() * (t.threads() / kWarp) + t.thread() / kWarp;
    if (at >= a.batch * a.queries * a.heads) return;
    const int64_t row = at / a.heads, head = at % a.heads;
    float sum = 0;
    for (int64_t c = t.thread() % kWarp; c < a.head_dim; c += kWarp)
      sum +=
          load(a.dout.at(row, head * a.head_dim + c)) * load(a.out.at(row, head * a.head_dim + c));
    sum = warp_sum(t, sum);
    if (t.thread() % kWarp == 0) *a.delta.at(row, head) = sum;
  }
};

/// dq: S and dP of a tile of queries again, dS = P (dP - delta) scale, dq += dS k.
template <int kHeadDim, int kOut, int kKeys>
struct AttentionQueryGradient {
  static constexpr int kParts = kHeadDim / kOut;
  AttentionArgs a;

  static constexpr size_t shared() {
    return 2 * Tile<kHeadDim>::bytes(kOwned) + 2 * Tile<kHeadDim>::bytes(kKeys);
  }
  static int64_t blocks(const AttentionArgs& a) {
    return a.batch * a.heads * kParts * div_ceil(a.queries, int64_t{kOwned});
  }

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const AttentionBlock block(t.block(), (a.queries + kOwned - 1) / kOwned, a.heads, kParts, true);
    const int64_t kv_head = block.head / (a.heads / a.kv_heads), hd = a.head_dim;
    const int lane = t.thread() % kWarp, warp_row = t.thread() / kWarp * 16;
    bf16* memory = reinterpret_cast<bf16*>(t.shared());
    const Tile<kHeadDim> q{memory}, dout{q.at(kOwned, 0)}, k{dout.at(kOwned, 0)}, v{k.at(kKeys, 0)};
    const int64_t first_query = block.tile * kOwned, row = block.batch * a.queries;
    q.fill(t, a.q.at(row, block.head * hd), a.q.stride, first_query, kOwned, a.queries, hd);
    dout.fill(t, a.dout.at(row, block.head * hd), a.dout.stride, first_query, kOwned, a.queries,
              hd);
    float lse[2] = {}, delta[2] = {};
    ISOFLOP_UNROLL for (int h = 0; h < 2; ++h) {
      const int64_t query = first_query + warp_row + row_of(lane, 2 * h);
      if (query >= a.queries) continue;
      lse[h] = *a.lse.at(row + query, block.head);
      delta[h] = *a.delta.at(row + query, block.head);
    }
    float dq[kOut / 8][4] = {};
    const int64_t end = first_query + kOwned < a.queries ? first_query + kOwned : a.queries;
    for (int64_t j0 = first_tile_of_keys(a, block.batch, first_query, kKeys); j0 < end;
         j0 += kKeys) {
      t.sync();
      k.fill(t, a.k.at(block.batch * a.key_stride, kv_head * hd), a.k.stride, j0, kKeys, a.keys,
             hd);
      v.fill(t, a.v.at(block.batch * a.key_stride, kv_head * hd), a.v.stride, j0, kKeys, a.keys,
             hd);
      t.sync();
      float s[kKeys / 8][4], dp[kKeys / 8][4];
      multiply_transposed<kKeys / 8>(t, q, warp_row, k, s);
      multiply_transposed<kKeys / 8>(t, dout, warp_row, v, dp);
      ISOFLOP_UNROLL for (int n = 0; n < kKeys / 8; ++n)
          ISOFLOP_UNROLL for (int i = 0; i < 4; ++i) {
        const int64_t query = first_query + warp_row + row_of(lane, i);
        s[n][i] = sees(a, block.batch, query, j0 + col_of(lane, n, i))
                      ? expf(s[n][i] * a.scale - lse[i / 2]) * (dp[n][i] - delta[i / 2]) * a.scale
                      : 0;
      }
      multiply_add(t, s, k, static_cast<int>(block.part) * kOut, dq);
    }
    const float one[2] = {1, 1};
    write_rows(t, dq, one, a.dq.at(row, block.head * hd), a.dq.stride, first_query + warp_row,
               a.queries, block.part * kOut, hd);
  }
};

/// dk and dv of a tile of keys: over all query heads of its group and all tiles of queries that may
/// see it, P^T and dS^T; dv += P^T dout, dk += dS^T q.
template <int kHeadDim, int kOut, int kQueries>
struct AttentionKeyGradient {
  static constexpr int kParts = kHeadDim / kOut;
  AttentionArgs a;

  static constexpr size_t shared() {
    return 2 * Tile<kHeadDim>::bytes(kOwned) + 2 * Tile<kHeadDim>::bytes(kQueries) +
           2 * kQueries * sizeof(float);
  }
  static int64_t blocks(const AttentionArgs& a) {
    return a.batch * a.kv_heads * kParts * div_ceil(a.keys, int64_t{kOwned});
  }

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const AttentionBlock block(t.block(), (a.keys + kOwned - 1) / kOwned, a.kv_heads, kParts,
                               false);
    const int64_t group = a.heads / a.kv_heads, hd = a.head_dim;
    const int lane = t.thread() % kWarp, warp_row = t.thread() / kWarp * 16;
    bf16* memory = reinterpret_cast<bf16*>(t.shared());
    const Tile<kHeadDim> k{memory}, v{k.at(kOwned, 0)}, q{v.at(kOwned, 0)}, dout{q.at(kQueries, 0)};
    float* const lse = reinterpret_cast<float*>(dout.at(kQueries, 0));
    float* const delta = lse + kQueries;
    const int64_t first_key = block.tile * kOwned;
    k.fill(t, a.k.at(block.batch * a.key_stride, block.head * hd), a.k.stride, first_key, kOwned,
           a.keys, hd);
    v.fill(t, a.v.at(block.batch * a.key_stride, block.head * hd), a.v.stride, first_key, kOwned,
           a.keys, hd);
    float dk[kOut / 8][4] = {}, dv[kOut / 8][4] = {};
    const int64_t row = block.batch * a.queries;
    for (int64_t head = block.head * group; head < (block.head + 1) * group; ++head)
      for (int64_t i0 = first_key / kQueries * kQueries; i0 < a.queries; i0 += kQueries) {
        // Documents begin later and later, so nobody from here on looks back at these keys.
        if (a.first_keys && a.first_keys[row + i0] >= first_key + kOwned) break;
        t.sync();
        q.fill(t, a.q.at(row, head * hd), a.q.stride, i0, kQueries, a.queries, hd);
        dout.fill(t, a.dout.at(row, head * hd), a.dout.stride, i0, kQueries, a.queries, hd);
        for (int i = t.thread(); i < kQueries; i += t.threads()) {
          const bool inside = i0 + i < a.queries;
          lse[i] = inside ? *a.lse.at(row + i0 + i, head) : 0;
          delta[i] = inside ? *a.delta.at(row + i0 + i, head) : 0;
        }
        t.sync();
        float p[kQueries / 8][4], ds[kQueries / 8][4];
        multiply_transposed<kQueries / 8>(t, k, warp_row, q, p);
        multiply_transposed<kQueries / 8>(t, v, warp_row, dout, ds);
        ISOFLOP_UNROLL for (int n = 0; n < kQueries / 8; ++n)
            ISOFLOP_UNROLL for (int i = 0; i < 4; ++i) {
          const int query = col_of(lane, n, i);
          const int64_t key = first_key + warp_row + row_of(lane, i);
          p[n][i] =
              sees(a, block.batch, i0 + query, key) ? expf(p[n][i] * a.scale - lse[query]) : 0;
          ds[n][i] = p[n][i] * (ds[n][i] - delta[query]) * a.scale;
        }
        multiply_add(t, p, dout, static_cast<int>(block.part) * kOut, dv);
        multiply_add(t, ds, q, static_cast<int>(block.part) * kOut, dk);
      }
    const float one[2] = {1, 1};
    const int64_t key_row = block.batch * a.key_stride;
    write_rows(t, dk, one, a.dk.at(key_row, block.head * hd), a.dk.stride, first_key + warp_row,
               a.keys, block.part * kOut, hd);
    write_rows(t, dv, one, a.dv.at(key_row, block.head * hd), a.dv.stride, first_key + warp_row,
               a.keys, block.part * kOut, hd);
  }
};

/// f.template operator()<kHeadDim, kOut>() with the smallest width that holds the head. No block
/// keeps more than 128 columns of a result, which is what the registers hold.
template <class F>
void with_head_dim(int64_t head_dim, F&& f) {
  ISOFLOP_CHECK(head_dim <= kMaxHeadDim, "heads of {} entries; the GPU takes at most {}", head_dim,
                kMaxHeadDim);
  if (head_dim <= 64)
    f.template operator()<64, 64>();
  else if (head_dim <= 128)
    f.template operator()<128, 128>();
  else
    f.template operator()<256, 128>();
}

template <class Device, class Kernel>
void launch_attention(Device& device, const Kernel& kernel) {
  device.launch({Kernel::blocks(kernel.a), kAttentionThreads, Kernel::shared()}, kernel);
}

inline AttentionArgs attention_args(const AttentionShape& s, View q, View k, View v) {
  AttentionArgs a = {};
  a.q = rows_of<const bf16>(q);
  a.k = rows_of<const bf16>(k);
  a.v = rows_of<const bf16>(v);
  a.batch = s.batch, a.queries = s.queries, a.keys = s.keys, a.key_stride = s.key_stride();
  a.heads = s.heads, a.kv_heads = s.kv_heads, a.head_dim = s.head_dim;
  a.scale = static_cast<float>(s.scale);
  return a;
}

template <class Device>
void attention_forward(Device& device, const AttentionForward& f, const int32_t* first_keys) {
  AttentionArgs a = attention_args(f.shape, f.q, f.k, f.v);
  a.y = rows_of<bf16>(f.out);
  a.lse = rows_of<float>(f.lse);
  a.first_keys = first_keys;
  with_head_dim(a.head_dim, [&]<int kHeadDim, int kOut>() {
    launch_attention(device, AttentionForwardKernel<kHeadDim, kOut, 64>{a});
  });
}

template <class Device>
void attention_backward(Device& device, const AttentionBackward& b, const int32_t* first_keys) {
  AttentionArgs a = attention_args(b.shape, b.q, b.k, b.v);
  a.out = rows_of<const bf16>(b.out);
  a.dout = rows_of<const bf16>(b.dout);
  a.lse = rows_of<float>(b.lse);
  a.dq = rows_of<bf16>(b.dq);
  a.dk = rows_of<bf16>(b.dk);
  a.dv = rows_of<bf16>(b.dv);
  a.first_keys = first_keys;
  const int64_t sums = a.batch * a.queries * a.heads;
  a.delta = {device.template scratch<float>(sums), a.heads};
  device.launch({div_ceil(sums, int64_t{4}), 4 * kWarp, 0}, AttentionDeltaKernel{a});
  with_head_dim(a.head_dim, [&]<int kHeadDim, int kOut>() {
    launch_attention(device, AttentionQueryGradient<kHeadDim, kOut, 32>{a});
    launch_attention(device, AttentionKeyGradient<kHeadDim, kOut, 32>{a});
  });
}

}  // namespace isoflop::gpu
