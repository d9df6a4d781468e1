// Matrix products with a weight: y = x W^T, and the two products of its backward.
//
// A weight is `rows = outputs` by `cols = inputs`, as stored everywhere. N = tokens.
#pragma once
#include "core/view.hpp"
#include "ops/activation.hpp"

#include <cstddef>
#include <cstdint>

namespace isoflop {

/// A weight as the backend multiplies by it: plain fp32, packed, or quantized blocks. Made by
/// Backend::prepare, never a view of the masters. Copyable handle; the backend owns what is behind
/// it.
struct WeightRef {
  int64_t rows = 0;
  int64_t cols = 0;
  const void* handle = nullptr;
};

/// A weight as quantized blocks, where they lie (in a mapped file, which outlives it). Only forward
/// products and look-ups take one.
struct BlockMatrix {
  const std::byte* blocks = nullptr;
  uint32_t type = 0;  // its id in a GGUF file (formats/block_codec.hpp)
  int64_t rows = 0;   // outputs
  int64_t cols = 0;   // inputs, whole blocks

  explicit operator bool() const { return blocks != nullptr; }
};

/// y = add + scale * (x W^T + bias)
struct Matmul {
  View x;       // (N, in)
  WeightRef w;  // (out, in)
  View bias;    // (out) or absent
  View add;     // (N, out) or absent; may be y itself
  View y;       // (N, out)
  double scale = 1;
};

/// dx = scale * dy W, or dx += when `accumulate`
struct MatmulGradInput {
  View dy;      // (N, out)
  WeightRef w;  // (out, in)
  View dx;      // (N, in)
  double scale = 1;
  bool accumulate = false;
};

/// dw += scale * dy^T x; dbias += scale * column sums of dy. Sums over N in an order fixed by
/// shape.
struct MatmulGradWeight {
  View dy;     // (N, out)
  View x;      // (N, in)
  View dw;     // (out, in), state dtype
  View dbias;  // (out) or absent, state dtype
  double scale = 1;
};

/// pre = x W^T + bias; y = gelu(pre). Of `pre` as stored or of the sums before they are rounded to
/// it, as the device likes.
struct MatmulGelu {
  View x;       // (N, in)
  WeightRef w;  // (out, in)
  View bias;    // (out) or absent
  View pre, y;  // (N, out)
  Gelu kind = Gelu::tanh;
};

/// dx = gelu'(pre) * scale * dy W, the gradient of the product that put out `pre`
struct MatmulGeluGradInput {
  View dy;      // (N, out)
  WeightRef w;  // (out, in)
  View pre;     // (N, in)
  View dx;      // (N, in)
  double scale = 1;
  Gelu kind = Gelu::tanh;
};

/// c = alpha op(a) op(b) + beta c, op a transposition where asked for; c is neither a nor b. Of
/// parameters, gradients and the like: all in the state dtype. A device may round a and b to its
/// activation dtype. With beta 0, c is not read.
struct StateProduct {
  View a, b, c;
  bool transpose_a = false, transpose_b = false;
  double alpha = 1, beta = 0;
};

}  // namespace isoflop
