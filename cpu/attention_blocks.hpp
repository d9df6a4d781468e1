// What the fp32 and the bf16 attention share: how scores are cut into blocks. Not for other
// folders.
#pragma once
#include "core/view.hpp"
#include "ops/attention.hpp"

#include <algorithm>
#include <array>

namespace isoflop::cpu {

constexpr int64_t kQueryBlock = 64;
constexpr int64_t kKeyBlock = 480;  // whole panels of packed bf16
// Room for a whole vector behind a row's keys; not a power of two: rows in different cache sets.
constexpr int64_t kScoreStride = kKeyBlock + 16;
constexpr float kUnseen = -1e30f;  // a score whose exponential is zero, whatever it is scaled by

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

/// What the backward of a block's softmax reads besides the scores, and what it makes, in bf16.
struct SoftmaxBackward {
  const float* dp;             // like the scores
  const float* lse;            // of the block's queries, in powers of two
  const float* delta;          // the sums over P dP
  bf16 *p_panels, *ds_panels;  // of (queries, keys)
  bf16* ds;                    // in rows as well
};

/// The first key of its sequence that any query from row `r` on sees.
inline int64_t first_key(FirstKeys first_keys, int64_t r) {
  return first_keys.empty() ? 0 : first_keys[static_cast<size_t>(r)];
}

/// Rows of one sequence and columns of one head.
inline View head_rows(View x, int64_t first_row, int64_t count, int64_t head, int64_t head_dim) {
  return x.slice(first_row, count).columns(head * head_dim, head_dim);
}

}  // namespace isoflop::cpu
