#include "ops/check.hpp"

#include <algorithm>

namespace isoflop {

namespace {

void require(const char* name, View v, int64_t rows, int64_t cols, DType dtype) {
  ISOFLOP_CHECK(v.rows == rows && v.cols == cols, "{} is ({}, {}), must be ({}, {})", name, v.rows,
                v.cols, rows, cols);
  ISOFLOP_CHECK(v.dtype == dtype, "{} is {}, must be {}", name, name_of(v.dtype), name_of(dtype));
  ISOFLOP_CHECK(v.rows <= 1 || v.stride >= v.cols, "{}: rows of {} elements overlap at stride {}",
                name, v.cols, v.stride);
  ISOFLOP_CHECK(v.data || v.size() == 0, "{} is absent", name);
}

void require_contiguous(const char* name, View v, int64_t rows, int64_t cols, DType dtype) {
  require(name, v, rows, cols, dtype);
  ISOFLOP_CHECK(v.contiguous(), "{} has stride {}, must be contiguous", name, v.stride);
}

void require_vector(const char* name, View v, int64_t cols, DType dtype) {
  require(name, v, 1, cols, dtype);
}

void require_weight(const char* name, WeightRef w, int64_t rows, int64_t cols) {
  ISOFLOP_CHECK(w.handle, "{} was not prepared", name);
  ISOFLOP_CHECK(w.rows == rows && w.cols == cols, "{} is ({}, {}), must be ({}, {})", name, w.rows,
                w.cols, rows, cols);
}

void require_distinct(const char* output, View out, const char* input, View in) {
  ISOFLOP_CHECK(!out.data || out.data != in.data, "{} must not be {}", output, input);
}

void require_tokens(std::span<const int32_t> tokens, int64_t rows, int64_t vocabulary) {
  ISOFLOP_CHECK(static_cast<int64_t>(tokens.size()) == rows, "{} tokens for {} rows", tokens.size(),
                rows);
  for (const int32_t token : tokens)
    ISOFLOP_CHECK(token >= 0 && token < vocabulary, "token {} outside a vocabulary of {}", token,
                  vocabulary);
}

void require_positions(int64_t rows, int64_t sequence, int64_t first, int64_t available) {
  ISOFLOP_CHECK(sequence > 0 && rows % sequence == 0, "{} rows are not whole sequences of {}", rows,
                sequence);
  ISOFLOP_CHECK(first >= 0 && first + sequence <= available, "positions {}..{} of {}", first,
                first + sequence - 1, available);
}

void require_attention(const AttentionShape& s) {
  ISOFLOP_CHECK(s.batch >= 1 && s.queries >= 1 && s.keys >= s.queries,
                "attention of {} sequences, {} queries on {} keys", s.batch, s.queries, s.keys);
  ISOFLOP_CHECK(s.key_capacity == 0 || s.key_capacity >= s.keys, "{} keys in a cache of {}", s.keys,
                s.key_capacity);
  ISOFLOP_CHECK(s.head_dim >= 1 && s.kv_heads >= 1 && s.heads >= 1 && s.heads % s.kv_heads == 0,
                "{} heads on {} key/value heads of {}", s.heads, s.kv_heads, s.head_dim);
}

void require_first_keys(const AttentionShape& s, FirstKeys first) {
  if (first.empty()) return;
  ISOFLOP_CHECK(static_cast<int64_t>(first.size()) == s.batch * s.queries,
                "{} first keys for {} queries", first.size(), s.batch * s.queries);
  for (size_t r = 0; r < first.size(); ++r) {
    const auto i = static_cast<int64_t>(r) % s.queries;
    ISOFLOP_CHECK(
        first[r] >= 0 && first[r] <= s.keys - s.queries + i && (i == 0 || first[r] >= first[r - 1]),
        "query {} starts at key {}", r, first[r]);
  }
}

}  // namespace

DType state_dtype_of(DType activation) {
  switch (activation) {
    case DType::f32:
    case DType::bf16:
    case DType::f16:
      return DType::f32;
    case DType::f64:
    case DType::c128:
      return activation;
    default:
      break;
  }
  ISOFLOP_CHECK(false, "{} is no activation dtype", name_of(activation));
}

void check(const EmbeddingForward& a) {
  state_dtype_of(a.y.dtype);
  require("y", a.y, a.y.rows, a.y.cols, a.y.dtype);
  require_weight("table", a.table, a.table.rows, a.y.cols);
  require_tokens(a.tokens, a.y.rows, a.table.rows);
  if (!a.positions.handle) return;
  require_weight("positions", a.positions, a.positions.rows, a.y.cols);
  require_positions(a.y.rows, a.sequence, a.first_position, a.positions.rows);
}

void check(const EmbeddingBackward& a) {
  const DType state = state_dtype_of(a.dy.dtype);
  require("dy", a.dy, a.dy.rows, a.dy.cols, a.dy.dtype);
  require("dtable", a.dtable, a.dtable.rows, a.dy.cols, state);
  require_tokens(a.tokens, a.dy.rows, a.dtable.rows);
  if (!a.dpositions) return;
  require("dpositions", a.dpositions, a.dpositions.rows, a.dy.cols, state);
  require_positions(a.dy.rows, a.sequence, 0, a.dpositions.rows);
}

void check(const Matmul& a) {
  const int64_t rows = a.x.rows, in = a.x.cols, out = a.y.cols;
  const DType dtype = a.x.dtype;
  const DType state = state_dtype_of(dtype);
  require("x", a.x, rows, in, dtype);
  require("y", a.y, rows, out, dtype);
  require_weight("w", a.w, out, in);
  if (a.bias) require_vector("bias", a.bias, out, state);
  if (a.add) require("add", a.add, rows, out, dtype);
  require_distinct("y", a.y, "x", a.x);
}

void check(const MatmulGradInput& a) {
  const DType dtype = a.dy.dtype;
  state_dtype_of(dtype);
  require("dy", a.dy, a.dy.rows, a.dy.cols, dtype);
  require("dx", a.dx, a.dy.rows, a.dx.cols, dtype);
  require_weight("w", a.w, a.dy.cols, a.dx.cols);
  require_distinct("dx", a.dx, "dy", a.dy);
}

void check(const MatmulGradWeight& a) {
  const int64_t rows = a.dy.rows, out = a.dy.cols, in = a.x.cols;
  const DType dtype = a.dy.dtype;
  const DType state = state_dtype_of(dtype);
  require("dy", a.dy, rows, out, dtype);
  require("x", a.x, rows, in, dtype);
  require("dw", a.dw, out, in, state);
  if (a.dbias) require_vector("dbias", a.dbias, out, state);
}

void check(const LayerNormForward& a) {
  const int64_t rows = a.x.rows, width = a.x.cols;
  const DType dtype = a.x.dtype;
  const DType state = state_dtype_of(dtype);
  require("x", a.x, rows, width, dtype);
  require("y", a.y, rows, width, dtype);
  require_vector("gain", a.gain, width, state);
  if (a.bias) require_vector("bias", a.bias, width, state);
  require_contiguous("mean", a.mean, rows, 1, state);
  require_contiguous("inv_std", a.inv_std, rows, 1, state);
  require_distinct("y", a.y, "x", a.x);
}

void check(const LayerNormBackward& a) {
  const int64_t rows = a.x.rows, width = a.x.cols;
  const DType dtype = a.x.dtype;
  const DType state = state_dtype_of(dtype);
  require("dy", a.dy, rows, width, dtype);
  require("x", a.x, rows, width, dtype);
  require("dx_add", a.dx_add, rows, width, dtype);
  require_vector("gain", a.gain, width, state);
  require_vector("dgain", a.dgain, width, state);
  if (a.dbias) require_vector("dbias", a.dbias, width, state);
  require_contiguous("mean", a.mean, rows, 1, state);
  require_contiguous("inv_std", a.inv_std, rows, 1, state);
  require_distinct("dx_add", a.dx_add, "dy", a.dy);
  require_distinct("dx_add", a.dx_add, "x", a.x);
}

void check(const RmsNormForward& a) {
  const int64_t rows = a.x.rows, width = a.x.cols;
  const DType dtype = a.x.dtype;
  const DType state = state_dtype_of(dtype);
  require("x", a.x, rows, width, dtype);
  require("y", a.y, rows, width, dtype);
  require_vector("gain", a.gain, width, state);
  require_contiguous("inv_rms", a.inv_rms, rows, 1, state);
  require_distinct("y", a.y, "x", a.x);
}

void check(const RmsNormBackward& a) {
  const int64_t rows = a.x.rows, width = a.x.cols;
  const DType dtype = a.x.dtype;
  const DType state = state_dtype_of(dtype);
  require("dy", a.dy, rows, width, dtype);
  require("x", a.x, rows, width, dtype);
  require("dx_add", a.dx_add, rows, width, dtype);
  require_vector("gain", a.gain, width, state);
  require_vector("dgain", a.dgain, width, state);
  require_contiguous("inv_rms", a.inv_rms, rows, 1, state);
  require_distinct("dx_add", a.dx_add, "dy", a.dy);
  require_distinct("dx_add", a.dx_add, "x", a.x);
}

void check(const Rope& a) {
  const DType state = state_dtype_of(a.x.dtype);
  ISOFLOP_CHECK(a.head_dim > 0 && a.x.cols % a.head_dim == 0, "{} columns in heads of {}", a.x.cols,
                a.head_dim);
  ISOFLOP_CHECK(a.rotary_dim > 0 && a.rotary_dim % 2 == 0 && a.rotary_dim <= a.head_dim,
                "{} rotary entries in heads of {}", a.rotary_dim, a.head_dim);
  require("x", a.x, a.x.rows, a.x.cols, a.x.dtype);
  require_contiguous("cos", a.cos, a.cos.rows, a.rotary_dim / 2, state);
  require_contiguous("sin", a.sin, a.cos.rows, a.rotary_dim / 2, state);
  require_positions(a.x.rows, a.tokens, a.first_position, a.cos.rows);
}

void check(const AttentionForward& a) {
  const AttentionShape& s = a.shape;
  const DType dtype = a.q.dtype;
  const DType state = state_dtype_of(dtype);
  require_attention(s);
  const int64_t queries = s.batch * s.queries, keys = s.batch * s.key_stride();
  require("q", a.q, queries, s.heads * s.head_dim, dtype);
  require("k", a.k, keys, s.kv_heads * s.head_dim, dtype);
  require("v", a.v, keys, s.kv_heads * s.head_dim, dtype);
  require("out", a.out, queries, s.heads * s.head_dim, dtype);
  if (a.lse) require_contiguous("lse", a.lse, queries, s.heads, state);
  require_first_keys(s, a.first_keys);
  require_distinct("out", a.out, "q", a.q);
}

void check(const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  const DType dtype = a.q.dtype;
  const DType state = state_dtype_of(dtype);
  require_attention(s);
  ISOFLOP_CHECK(s.queries == s.keys && s.key_stride() == s.keys,
                "attention's backward takes whole sequences, not {} queries on {} of {} keys",
                s.queries, s.keys, s.key_stride());
  const int64_t rows = s.batch * s.queries, kv = s.kv_heads * s.head_dim;
  require("dout", a.dout, rows, s.heads * s.head_dim, dtype);
  require("q", a.q, rows, s.heads * s.head_dim, dtype);
  require("k", a.k, rows, kv, dtype);
  require("v", a.v, rows, kv, dtype);
  require("out", a.out, rows, s.heads * s.head_dim, dtype);
  require_contiguous("lse", a.lse, rows, s.heads, state);
  require_first_keys(s, a.first_keys);
  require("dq", a.dq, rows, s.heads * s.head_dim, dtype);
  require("dk", a.dk, rows, kv, dtype);
  require("dv", a.dv, rows, kv, dtype);
}

void check(const MatmulGelu& a) {
  check(Matmul{.x = a.x, .w = a.w, .bias = a.bias, .add = {}, .y = a.pre});
  check(GeluForward{.x = a.pre, .y = a.y, .kind = a.kind});
  require_distinct("y", a.y, "pre", a.pre);
  require_distinct("y", a.y, "x", a.x);
}

void check(const MatmulGeluGradInput& a) {
  check(MatmulGradInput{.dy = a.dy, .w = a.w, .dx = a.dx, .scale = a.scale});
  check(GeluBackward{.dy = a.dx, .x = a.pre, .dx = a.dx, .kind = a.kind});
  require_distinct("dx", a.dx, "pre", a.pre);
}

void check(const GeluForward& a) {
  state_dtype_of(a.x.dtype);
  require("x", a.x, a.x.rows, a.x.cols, a.x.dtype);
  require("y", a.y, a.x.rows, a.x.cols, a.x.dtype);
}

void check(const GeluBackward& a) {
  state_dtype_of(a.x.dtype);
  require("dy", a.dy, a.x.rows, a.x.cols, a.x.dtype);
  require("x", a.x, a.x.rows, a.x.cols, a.x.dtype);
  require("dx", a.dx, a.x.rows, a.x.cols, a.x.dtype);
}

void check(const SwigluForward& a) {
  state_dtype_of(a.gate.dtype);
  require("gate", a.gate, a.gate.rows, a.gate.cols, a.gate.dtype);
  require("up", a.up, a.gate.rows, a.gate.cols, a.gate.dtype);
  require("y", a.y, a.gate.rows, a.gate.cols, a.gate.dtype);
}

void check(const SwigluBackward& a) {
  state_dtype_of(a.gate.dtype);
  const int64_t rows = a.gate.rows, cols = a.gate.cols;
  require("dy", a.dy, rows, cols, a.gate.dtype);
  require("gate", a.gate, rows, cols, a.gate.dtype);
  require("up", a.up, rows, cols, a.gate.dtype);
  require("dgate", a.dgate, rows, cols, a.gate.dtype);
  require("dup", a.dup, rows, cols, a.gate.dtype);
  require_distinct("dgate", a.dgate, "dup", a.dup);
}

void check(const SoftCap& a) {
  state_dtype_of(a.x.dtype);
  require("x", a.x, a.x.rows, a.x.cols, a.x.dtype);
  ISOFLOP_CHECK(a.cap > 0, "a cap of {}", a.cap);
}

void check(const CrossEntropy& a) {
  const DType state = state_dtype_of(a.logits.dtype);
  const int64_t rows = a.logits.rows, vocabulary = a.logits.cols;
  require("logits", a.logits, rows, vocabulary, a.logits.dtype);
  require_contiguous("losses", a.losses, rows, 1, state);
  ISOFLOP_CHECK(static_cast<int64_t>(a.targets.size()) == rows, "{} targets for {} rows",
                a.targets.size(), rows);
  for (const int32_t target : a.targets)
    ISOFLOP_CHECK(target == kIgnoreTarget || (target >= 0 && target < vocabulary),
                  "target {} outside a vocabulary of {}", target, vocabulary);
}

void check(const AdamW& a) {
  const int64_t rows = a.p.rows, cols = a.p.cols;
  ISOFLOP_CHECK(state_dtype_of(a.p.dtype) == a.p.dtype, "masters in {}", name_of(a.p.dtype));
  require_contiguous("p", a.p, rows, cols, a.p.dtype);
  require_contiguous("g", a.g, rows, cols, a.p.dtype);
  const DType moments = a.m.dtype == DType::bf16 ? DType::bf16 : a.p.dtype;
  require_contiguous("m", a.m, rows, cols, moments);
  require_contiguous("v", a.v, rows, cols, moments);
  ISOFLOP_CHECK(a.correction1 > 0 && a.correction2 > 0, "bias corrections {} and {}", a.correction1,
                a.correction2);
  if (a.factor) require("factor", a.factor, 1, 1, DType::f64);
}

void check(const StepNumbers& a) {
  for (const View& g : a.gradients)
    if (g) require("gradient", g, g.rows, g.cols, DType::f32);
  require("numbers", a.numbers, 1, std::max<int64_t>(a.numbers.cols, 3), DType::f64);
}

void check(const BlockRounding& a) {
  const int64_t rows = a.from.rows, cols = a.from.cols;
  require_contiguous("from", a.from, rows, cols, a.from.dtype);
  require_contiguous("to", a.to, rows, cols, a.from.dtype);
  ISOFLOP_CHECK(a.factor > 0, "weights folded by {}", a.factor);
}

void check(const StateProduct& a) {
  const DType dtype = a.c.dtype;
  ISOFLOP_CHECK(state_dtype_of(dtype) == dtype, "a product of states in {}", name_of(dtype));
  const int64_t inner = a.transpose_a ? a.a.rows : a.a.cols;
  require("a", a.a, a.transpose_a ? inner : a.c.rows, a.transpose_a ? a.c.rows : inner, dtype);
  require("b", a.b, a.transpose_b ? a.c.cols : inner, a.transpose_b ? inner : a.c.cols, dtype);
  require("c", a.c, a.c.rows, a.c.cols, dtype);
  require_distinct("c", a.c, "a", a.a);
  require_distinct("c", a.c, "b", a.b);
}

void check(const WeightedSum& a) {
  ISOFLOP_CHECK(state_dtype_of(a.y.dtype) == a.y.dtype, "states in {}", name_of(a.y.dtype));
  require_contiguous("x", a.x, a.y.rows, a.y.cols, a.y.dtype);
  require_contiguous("y", a.y, a.y.rows, a.y.cols, a.y.dtype);
}

void check_same(View from, View to) {
  require("from", from, from.rows, from.cols, from.dtype);
  require("to", to, from.rows, from.cols, from.dtype);
}

}  // namespace isoflop
