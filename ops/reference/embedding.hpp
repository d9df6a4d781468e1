// Definitions of the embedding ops; contracts in ops/embedding.hpp.
#pragma once
#include "ops/embedding.hpp"
#include "ops/reference/scalar.hpp"

namespace isoflop::reference {

template <class S>
void embedding_forward(const EmbeddingForward& a) {
  for (int64_t r = 0; r < a.y.rows; ++r) {
    const S* token = master_of(a.table).row<S>(a.tokens[r]);
    const S* position = a.positions.handle
                            ? master_of(a.positions).row<S>(a.first_position + r % a.sequence)
                            : nullptr;
    S* y = a.y.row<S>(r);
    for (int64_t c = 0; c < a.y.cols; ++c)
      y[c] = S(a.scale) * (position ? token[c] + position[c] : token[c]);
  }
}

template <class S>
void embedding_backward(const EmbeddingBackward& a) {
  for (int64_t r = 0; r < a.dy.rows; ++r) {
    const S* dy = a.dy.row<S>(r);
    S* dtoken = a.dtable.row<S>(a.tokens[r]);
    for (int64_t c = 0; c < a.dy.cols; ++c) dtoken[c] += S(a.scale) * dy[c];
    if (!a.dpositions) continue;
    S* dposition = a.dpositions.row<S>(r % a.sequence);
    for (int64_t c = 0; c < a.dy.cols; ++c) dposition[c] += S(a.scale) * dy[c];
  }
}

}  // namespace isoflop::reference
