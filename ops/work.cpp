#include "ops/work.hpp"

#include <initializer_list>

namespace isoflop {

namespace {

/// Bytes of the views, absent ones left out.
double moved(std::initializer_list<View> views) {
  double bytes = 0;
  for (const View& view : views)
    if (view) bytes += static_cast<double>(view.bytes());
  return bytes;
}

/// A weight in the backend's own form, counted at the size of the activations it meets.
double weight_bytes(const WeightRef& weight, DType dtype) {
  return static_cast<double>(weight.rows) * static_cast<double>(weight.cols) *
         static_cast<double>(size_of(dtype));
}

double product_flops(int64_t n, int64_t out, int64_t in) {
  return 2.0 * static_cast<double>(n) * static_cast<double>(out) * static_cast<double>(in);
}

/// Of one product over all pairs of a query and a key it sees.
double score_flops(const AttentionShape& shape) {
  const double first = static_cast<double>(shape.keys - shape.queries + 1);
  const double last = static_cast<double>(shape.keys);
  const double pairs = static_cast<double>(shape.queries) * (first + last) / 2;
  return 2.0 * pairs * static_cast<double>(shape.batch * shape.heads * shape.head_dim);
}

/// Rows of keys or values that are in use.
double key_bytes(const AttentionShape& shape, DType dtype) {
  return static_cast<double>(shape.batch * shape.keys * shape.kv_heads * shape.head_dim) *
         static_cast<double>(size_of(dtype));
}

}  // namespace

OpWork work_of(const EmbeddingForward& a) {
  return {0, 2 * moved({a.y}) + (a.positions.handle ? moved({a.y}) : 0)};
}
OpWork work_of(const EmbeddingBackward& a) {
  return {0, 3 * moved({a.dy}) + 2 * moved({a.dpositions})};
}

OpWork work_of(const Matmul& a) {
  return {product_flops(a.x.rows, a.w.rows, a.w.cols),
          moved({a.x, a.bias, a.add, a.y}) + weight_bytes(a.w, a.x.dtype)};
}
OpWork work_of(const MatmulGradInput& a) {
  return {product_flops(a.dy.rows, a.w.rows, a.w.cols),
          moved({a.dy, a.dx}) + (a.accumulate ? moved({a.dx}) : 0) + weight_bytes(a.w, a.dy.dtype)};
}
OpWork work_of(const MatmulGradWeight& a) {
  return {product_flops(a.dy.rows, a.dw.rows, a.dw.cols),
          moved({a.dy, a.x}) + 2 * moved({a.dw, a.dbias})};
}

OpWork work_of(const MatmulGelu& a) {
  return {product_flops(a.x.rows, a.w.rows, a.w.cols),
          moved({a.x, a.bias, a.pre, a.y}) + weight_bytes(a.w, a.x.dtype)};
}
OpWork work_of(const MatmulGeluGradInput& a) {
  return {product_flops(a.dy.rows, a.w.rows, a.w.cols),
          moved({a.dy, a.pre, a.dx}) + weight_bytes(a.w, a.dy.dtype)};
}

OpWork work_of(const LayerNormForward& a) {
  return {0, moved({a.x, a.gain, a.bias, a.y, a.mean, a.inv_std})};
}
OpWork work_of(const LayerNormBackward& a) {
  return {0,
          moved({a.dy, a.x, a.gain, a.mean, a.inv_std}) + 2 * moved({a.dx_add, a.dgain, a.dbias})};
}
OpWork work_of(const RmsNormForward& a) {
  return {0, moved({a.x, a.gain, a.y, a.inv_rms})};
}
OpWork work_of(const RmsNormBackward& a) {
  return {0, moved({a.dy, a.x, a.gain, a.inv_rms}) + 2 * moved({a.dx_add, a.dgain})};
}

OpWork work_of(const Rope& a) {
  const double share = static_cast<double>(a.rotary_dim) / static_cast<double>(a.head_dim);
  return {0, 2 * moved({a.x}) * share};
}

OpWork work_of(const AttentionForward& a) {  // scores, and their product with the values
  return {2 * score_flops(a.shape), moved({a.q, a.out, a.lse}) + 2 * key_bytes(a.shape, a.q.dtype)};
}
OpWork work_of(const AttentionBackward& a) {  // scores again, and dV, dP, dQ, dK
  return {5 * score_flops(a.shape),
          moved({a.dout, a.q, a.out, a.lse, a.dq}) + 4 * key_bytes(a.shape, a.q.dtype)};
}

OpWork work_of(const GeluForward& a) {
  return {0, moved({a.x, a.y})};
}
OpWork work_of(const GeluBackward& a) {
  return {0, moved({a.dy, a.x, a.dx})};
}
OpWork work_of(const SwigluForward& a) {
  return {0, moved({a.gate, a.up, a.y})};
}
OpWork work_of(const SwigluBackward& a) {
  return {0, moved({a.dy, a.gate, a.up, a.dgate, a.dup})};
}

OpWork work_of(const SoftCap& a) {
  return {0, 2 * moved({a.x})};
}
OpWork work_of(const CrossEntropy& a) {
  return {0, moved({a.logits, a.losses}) + (a.grad_scale != 0 ? moved({a.logits}) : 0)};
}

OpWork work_of(const AdamW& a) {  // all four read, all but the gradient written
  return {0, moved({a.g}) + 2 * moved({a.p, a.m, a.v})};
}

OpWork work_of(const BlockRounding& a) {
  return {0, moved({a.from, a.to})};
}
OpWork work_of(const StateProduct& a) {
  const int64_t inner = a.transpose_a ? a.a.rows : a.a.cols;
  return {product_flops(a.c.rows, a.c.cols, inner),
          moved({a.a, a.b, a.c}) + (a.beta != 0 ? moved({a.c}) : 0)};
}
OpWork work_of(const WeightedSum& a) {
  return {0, moved({a.x, a.y}) + (a.b != 0 ? moved({a.y}) : 0)};
}

}  // namespace isoflop
