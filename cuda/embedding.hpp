// Token and position embedding; contract in ops/embedding.hpp. The backward needs no atomics: the
// host sorts the rows by token, and one block sums all rows of its token in row order.
#pragma once
#include "cuda/rows.hpp"
#include "ops/embedding.hpp"

#include <algorithm>
#include <numeric>
#include <span>
#include <vector>

namespace isoflop::gpu {

struct EmbeddingForwardPart {
  const int32_t* tokens;
  Rows<const bf16> table, positions;  // positions may be absent
  Rows<bf16> y;
  int64_t sequence, first_position;
  float scale;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t r, int64_t c) const {
    float v[W];
    load_pack(table.at(tokens[r], c), v);
    if (positions.data) {
      float p[W];
      load_pack(positions.at(first_position + r % sequence, c), p);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] += p[i];
    }
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] *= scale;
    store_pack(y.at(r, c), v);
  }
};

/// Rows grouped by token, in row order within a group: group g is rows[starts[g] .. starts[g+1])
/// and belongs to row ids[g] of the table. One array, so that it travels at once.
struct TokenGroups {
  std::vector<int32_t> data;  // rows (n), starts (groups + 1), ids (groups)
  int64_t rows = 0, groups = 0;

  void group(std::span<const int32_t> tokens) {
    rows = static_cast<int64_t>(tokens.size());
    data.resize(3 * tokens.size() + 1);
    const auto begin = data.begin(), end = begin + rows;
    std::iota(begin, end, 0);
    std::sort(begin, end, [&](int32_t a, int32_t b) {
      return std::pair(tokens[static_cast<size_t>(a)], a) <
             std::pair(tokens[static_cast<size_t>(b)], b);
    });
    const auto token_at = [&](int64_t i) {
      return tokens[static_cast<size_t>(data[static_cast<size_t>(i)])];
    };
    groups = 0;
    for (int64_t i = 0; i < rows; ++i) groups += i == 0 || token_at(i) != token_at(i - 1);
    int32_t* starts = data.data() + rows;
    int32_t* ids = starts + groups + 1;
    for (int64_t i = 0, g = 0; i < rows; ++i)
      if (i == 0 || token_at(i) != token_at(i - 1)) {
        starts[g] = static_cast<int32_t>(i);
        ids[g++] = token_at(i);
      }
    starts[groups] = static_cast<int32_t>(rows);
    data.resize(static_cast<size_t>(rows + 2 * groups + 1));
  }
};

struct TokenGradient {
  const int32_t* rows;
  const int32_t* starts;
  const int32_t* ids;
  Rows<const bf16> dy;
  Rows<float> dtable;
  int64_t cols;
  float scale;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t g = t.block();
    for (int64_t c = t.thread(); c < cols; c += t.threads()) {
      float sum = 0;
      for (int32_t i = starts[g]; i < starts[g + 1]; ++i) sum += load(dy.at(rows[i], c));
      *dtable.at(ids[g], c) += scale * sum;
    }
  }
};

struct PositionGradientPart {
  Rows<const bf16> dy;
  Rows<float> dpositions;
  int64_t sequence, sequences;
  float scale;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t position, int64_t c) const {
    float sum[W] = {};
    for (int64_t s = 0; s < sequences; ++s) {
      float v[W];
      load_pack(dy.at(s * sequence + position, c), v);
      ISOFLOP_UNROLL for (int i = 0; i < W; ++i) sum[i] += v[i];
    }
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) dpositions.at(position, c)[i] += scale * sum[i];
  }
};

template <class Device>
void embedding_forward(
    Device& device, const EmbeddingForward& a, const int32_t* tokens, View table, View positions) {
  for_each_piece(device, a.y.rows, a.y.cols, in_eights({table, positions, a.y}),
                 EmbeddingForwardPart{tokens, rows_of<const bf16>(table),
                                      rows_of<const bf16>(positions), rows_of<bf16>(a.y),
                                      a.sequence, a.first_position, static_cast<float>(a.scale)});
}

/// `groups` as uploaded.
template <class Device>
void embedding_backward(Device& device,
                        const EmbeddingBackward& a,
                        const TokenGroups& groups,
                        const int32_t* data) {
  if (groups.rows == 0) return;
  const float scale = static_cast<float>(a.scale);
  device.launch(
      {groups.groups, kThreads, 0},
      TokenGradient{data, data + groups.rows, data + groups.rows + groups.groups + 1,
                    rows_of<const bf16>(a.dy), rows_of<float>(a.dtable), a.dy.cols, scale});
  if (!a.dpositions) return;
  for_each_piece(device, a.sequence, a.dy.cols, in_eights({a.dy}),
                 PositionGradientPart{rows_of<const bf16>(a.dy), rows_of<float>(a.dpositions),
                                      a.sequence, a.dy.rows / a.sequence, scale});
}

}  // namespace isoflop::gpu
