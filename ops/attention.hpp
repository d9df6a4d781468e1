// Causal softmax attention with grouped queries (Vaswani et al. 2017; Ainslie et al. 2023),
// computed in blocks with an online softmax (Dao et al. 2022), so that no T x T matrix is ever in
// memory.
//
// B sequences. Query i of a sequence (0 <= i < Tq) sees keys 0 .. Tk - Tq + i. Head h reads
// key/value head h / (heads / kv_heads). In training q, k and v are column slices of one packed
// buffer and Tq = Tk = T; in decoding k and v are the cache and Tq is the number of new tokens.
#pragma once
#include "core/view.hpp"

#include <span>

namespace isoflop {

struct AttentionShape {
  int64_t batch = 1;         // B
  int64_t queries = 0;       // Tq
  int64_t keys = 0;          // Tk >= Tq
  int64_t key_capacity = 0;  // rows from one sequence's keys to the next's; 0 = Tk
  int64_t heads = 1;         // H
  int64_t kv_heads = 1;      // Hkv divides H
  int64_t head_dim = 1;      // hd
  double scale = 1;          // on q.k, before the softmax

  int64_t key_stride() const { return key_capacity ? key_capacity : keys; }
};

/// For packed documents: query r sees no key of its sequence before first_keys[r] (B*Tq entries,
/// not falling within a sequence, each at most the query's own position). Empty: every query starts
/// at key 0.
using FirstKeys = std::span<const int32_t>;

struct AttentionForward {
  AttentionShape shape;
  View q;     // (B*Tq, H*hd)
  View k, v;  // (B*key_stride, Hkv*hd)
  View out;   // (B*Tq, H*hd)
  View lse;   // (B*Tq, H) log-sum-exp of the scaled scores, state dtype; absent when no backward
              // follows
  FirstKeys first_keys = {};
};
struct AttentionBackward {  // needs queries == keys
  AttentionShape shape;
  View dout, q, k, v, out;  // as in forward
  View lse;
  View dq, dk, dv;  // like q, k, v; overwritten
  FirstKeys first_keys = {};
};

}  // namespace isoflop
