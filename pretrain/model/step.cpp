#include "pretrain/model/step.hpp"

#include <cmath>

namespace isoflop {

Parameters::Parameters(const ParamTable& t,
                       const ParamBuffer& m,
                       Backend& backend,
                       const BlockMatrices& blocks)
    : table(&t), masters(&m) {
  for (size_t i = 0; i < t.size(); ++i)
    if (!blocks.empty() && blocks[i])
      weights.push_back(backend.prepare_blocks(blocks[i]));
    else
      weights.push_back(t[i].is_vector() || !m[i] ? WeightRef{} : backend.prepare(m[i]));
}

void Parameters::refresh(Backend& backend, size_t first, size_t last) {
  for (size_t i = first; i < last; ++i)
    if (weights[i].handle) backend.refresh(weights[i]);
}

KvCache::KvCache(const ModelConfig& config, Backend& backend) {
  const int64_t cols = config.kv_heads * config.head_dim;
  const DType dtype = backend.activation_dtype();
  const size_t each = Arena::aligned(static_cast<size_t>(config.context * cols) * size_of(dtype));
  buffer = backend.allocate(each * 2 * static_cast<size_t>(config.layers), "the KV cache");
  for (int64_t i = 0; i < config.layers; ++i) {
    std::byte* at = buffer.data() + each * 2 * static_cast<size_t>(i);
    keys.push_back(make_view(at, dtype, config.context, cols));
    values.push_back(make_view(at + each, dtype, config.context, cols));
  }
}

Linear::Linear(const ParamTable& table, const std::string& name)
    : weight(find_param(table, name + ".weight")), bias(find_param(table, name + ".bias")) {
  ISOFLOP_CHECK(weight >= 0, "no parameter {}.weight", name);
  by_inputs = table[static_cast<size_t>(weight)].placement == Placement::row;
}

/// Whether a bias is ours to add: that of a product cut by inputs is added by one rank.
static bool adds_bias(const Linear& linear, const Step& s) {
  return !linear.by_inputs || !s.tp || s.tp->first();
}

void Linear::multiply(Step& s, View x, View y, View add, double scale) const {
  s.backend.matmul({.x = x,
                    .w = s.params.weights[weight],
                    .bias = adds_bias(*this, s) ? s.master(bias) : View{},
                    .add = add,
                    .y = y,
                    .scale = scale});
}

void Linear::forward(Step& s, View x, View y, View add, double scale) const {
  if (by_inputs) return add_branches(s, {{*this, x}}, y, add, scale);
  multiply(s, x, y, add, scale);
}

void Linear::forward_gelu(Step& s, View x, View pre, View y, Gelu kind) const {
  s.backend.matmul_gelu({.x = x,
                         .w = s.params.weights[weight],
                         .bias = s.master(bias),
                         .pre = pre,
                         .y = y,
                         .kind = kind});
}

void add_branches(Step& s, std::initializer_list<Branch> branches, View y, View add, double scale) {
  const View sum = s.partial(y);
  View so_far = s.tp ? View{} : add;
  for (const Branch& branch : branches) {
    branch.linear.multiply(s, branch.x, sum, so_far, scale);
    so_far = sum;
  }
  if (s.tp) s.tp->reduce(y, s.tokens(), add);
}

void Linear::add_weight_gradient(Step& s, View dy, View x, double scale) const {
  s.backend.matmul_grad_weight({.dy = dy,
                                .x = x,
                                .dw = s.grad(weight),
                                .dbias = adds_bias(*this, s) ? s.grad(bias) : View{},
                                .scale = scale});
}

void Linear::backward_gelu(
    Step& s, View dy, View x, View pre, View dpre, Gelu kind, double scale) const {
  add_weight_gradient(s, dy, x, scale);
  s.backend.matmul_gelu_grad_input({.dy = dy,
                                    .w = s.params.weights[weight],
                                    .pre = pre,
                                    .dx = dpre,
                                    .scale = scale,
                                    .kind = kind});
}

void Linear::backward(Step& s, View dy, View x, View dx, double scale, bool accumulate) const {
  add_weight_gradient(s, dy, x, scale);
  s.backend.matmul_grad_input({.dy = dy,
                               .w = s.params.weights[weight],
                               .dx = dx,
                               .scale = scale,
                               .accumulate = accumulate});
}

namespace {

struct PackedQkv {
  View q, k, v;
};

PackedQkv unpack(const ModelConfig& c, View qkv) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  return {qkv.columns(0, q), qkv.columns(q, kv), qkv.columns(q + kv, kv)};
}

AttentionShape attention_shape(const Step& s) {
  const ModelConfig& c = s.config;
  return {.batch = s.sequences,
          .queries = s.length,
          .keys = s.length,
          .key_capacity = 0,
          .heads = c.heads,
          .kv_heads = c.kv_heads,
          .head_dim = c.head_dim,
          .scale = c.attention_multiplier / std::sqrt(static_cast<double>(c.head_dim))};
}

}  // namespace

void attention_forward(Step& s, int layer, View qkv, View out, View lse) {
  const PackedQkv packed = unpack(s.config, qkv);
  AttentionForward args{attention_shape(s), packed.q, packed.k, packed.v, out, lse, s.first_keys};
  if (s.cache) {
    const View keys = s.cache->keys[layer], values = s.cache->values[layer];
    s.backend.copy(packed.k, keys.slice(s.cache->length, s.length));
    s.backend.copy(packed.v, values.slice(s.cache->length, s.length));
    args.shape.keys = s.cache->length + s.length;
    args.shape.key_capacity = keys.rows;
    args.k = keys;
    args.v = values;
  }
  s.backend.attention_forward(args);
}

void attention_backward(Step& s, View dout, View qkv, View out, View lse, View dqkv) {
  const PackedQkv x = unpack(s.config, qkv), dx = unpack(s.config, dqkv);
  s.backend.attention_backward({.shape = attention_shape(s),
                                .dout = dout,
                                .q = x.q,
                                .k = x.k,
                                .v = x.v,
                                .out = out,
                                .lse = lse,
                                .dq = dx.q,
                                .dk = dx.k,
                                .dv = dx.v,
                                .first_keys = s.first_keys});
}

QkNorm::QkNorm(const ParamTable& table, const std::string& name)
    : q_gain_(find_param(table, name + ".q_norm.weight")),
      k_gain_(find_param(table, name + ".k_norm.weight")) {}

namespace {

/// Column of a head of queries (the first H) or keys in the packed buffer, which is also its place
/// in inv_rms, here as the contiguous (N, 1) that a norm takes.
View statistics_of(View inv_rms, int64_t head) {
  return make_view(static_cast<std::byte*>(inv_rms.data) +
                       static_cast<size_t>(head * inv_rms.rows) * size_of(inv_rms.dtype),
                   inv_rms.dtype, inv_rms.rows, 1);
}

}  // namespace

void QkNorm::forward(Step& s, View raw, View inv_rms, View qkv) const {
  const ModelConfig& c = s.config;
  for (int64_t head = 0; head < c.heads + c.kv_heads; ++head)
    s.backend.rmsnorm_forward({.x = raw.columns(head * c.head_dim, c.head_dim),
                               .gain = s.master(head < c.heads ? q_gain_ : k_gain_),
                               .y = qkv.columns(head * c.head_dim, c.head_dim),
                               .inv_rms = statistics_of(inv_rms, head),
                               .eps = c.norm_eps});
  s.backend.copy(unpack(c, raw).v, unpack(c, qkv).v);
}

void QkNorm::backward(Step& s, View dqkv, View raw, View inv_rms, View draw) const {
  const ModelConfig& c = s.config;
  s.backend.zero(draw);  // the norm adds, as every norm does
  for (int64_t head = 0; head < c.heads + c.kv_heads; ++head) {
    const int gain = head < c.heads ? q_gain_ : k_gain_;
    s.backend.rmsnorm_backward({.dy = dqkv.columns(head * c.head_dim, c.head_dim),
                                .x = raw.columns(head * c.head_dim, c.head_dim),
                                .gain = s.master(gain),
                                .inv_rms = statistics_of(inv_rms, head),
                                .dx_add = draw.columns(head * c.head_dim, c.head_dim),
                                .dgain = s.grad(gain)});
  }
  s.backend.copy(unpack(c, dqkv).v, unpack(c, draw).v);
}

void rotate(Step& s, View qkv, bool inverse) {
  const PackedQkv packed = unpack(s.config, qkv);
  for (const View& x : {packed.q, packed.k})
    s.backend.rope(
        {.x = x,
         .cos = s.rope_cos,
         .sin = s.rope_sin,
         .tokens = s.length,
         .first_position = s.first_position(),
         .head_dim = s.config.head_dim,
         .rotary_dim = s.config.rotary_dim(),
         .pairs = is_llama(s.config.arch) ? RopePairs::interleaved : RopePairs::half_split,
         .inverse = inverse});
}

}  // namespace isoflop
