// Rotary position embedding, one pair of entries a thread; contract in ops/rope.hpp.
#pragma once
#include "cuda/rows.hpp"
#include "ops/rope.hpp"

namespace isoflop::gpu {

struct RopeKernel {
  Rows<bf16> x;
  Rows<const float> cos, sin;
  int64_t rows, heads, pairs;
  int64_t tokens, first_position, head_dim;
  bool interleaved, inverse;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const int64_t at = t.block() * t.threads() + t.thread();
    if (at >= rows * heads * pairs) return;
    const int64_t j = at % pairs, head = at / pairs % heads, r = at / pairs / heads;
    const int64_t position = first_position + r % tokens;
    const float c = *cos.at(position, j);
    const float s = inverse ? -*sin.at(position, j) : *sin.at(position, j);
    bf16* const first = x.at(r, head * head_dim + (interleaved ? 2 * j : j));
    bf16* const second = first + (interleaved ? 1 : pairs);
    const float a = load(first), b = load(second);
    store(first, a * c - b * s);
    store(second, a * s + b * c);
  }
};

template <class Device>
void rope(Device& device, const Rope& a) {
  const RopeKernel kernel{rows_of<bf16>(a.x),
                          rows_of<const float>(a.cos),
                          rows_of<const float>(a.sin),
                          a.x.rows,
                          a.x.cols / a.head_dim,
                          a.rotary_dim / 2,
                          a.tokens,
                          a.first_position,
                          a.head_dim,
                          a.pairs == RopePairs::interleaved,
                          a.inverse};
  const int64_t pairs = kernel.rows * kernel.heads * kernel.pairs;
  if (pairs > 0) device.launch({div_ceil(pairs, int64_t{kThreads}), kThreads, 0}, kernel);
}

}  // namespace isoflop::gpu
