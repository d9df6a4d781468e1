#include "pretrain/model/gpt3_block.hpp"

#include <fmt/format.h>

namespace isoflop {

std::vector<ActivationSpec<Gpt3Block::Activations>> Gpt3Block::activations(
    const ModelConfig& c, int64_t N, TokenRows Ns, DType act, DType state) {
  using A = Activations;
  const int64_t D = c.d_model, F = c.d_ff, att = c.heads * c.head_dim;
  const int64_t qkv = att + 2 * c.kv_heads * c.head_dim;
  const int64_t Q = c.qk_norm ? N : 0;  // rows that qk-norm needs
  return {
      {&A::x, "x", Ns, D, act, Drop::never},
      {&A::n1, "n1", Ns, D, act, Drop::at_cheap},
      {&A::mean1, "mean1", Ns, 1, state, Drop::never},
      {&A::inv_std1, "inv_std1", Ns, 1, state, Drop::never},
      {&A::qkv, "qkv", N, qkv, act, Drop::at_block},
      {&A::raw, "raw", Q, qkv, act, Drop::at_block},
      {&A::inv_qk, "inv_qk", Q, c.heads + c.kv_heads, state, Drop::never},
      {&A::att, "att", N, att, act, Drop::at_block},
      {&A::lse, "lse", N, c.heads, state, Drop::never},
      {&A::h, "h", Ns, D, act, Drop::at_block},
      {&A::n2, "n2", Ns, D, act, Drop::at_cheap},
      {&A::mean2, "mean2", Ns, 1, state, Drop::never},
      {&A::inv_std2, "inv_std2", Ns, 1, state, Drop::never},
      {&A::up, "up", N, F, act, Drop::at_ffn},
      {&A::act, "act", N, F, act, Drop::at_cheap},
      {&A::dup, "dup", N, F, act, Drop::scratch},
      {&A::dn, "dn", Ns, D, act, Drop::scratch},
      {&A::datt, "datt", N, att, act, Drop::scratch},
      {&A::dqkv, "dqkv", N, qkv, act, Drop::scratch},
      {&A::draw, "draw", Q, qkv, act, Drop::scratch},
  };
}

Gpt3Block::Gpt3Block(const ModelConfig& config, const ParamTable& table, int layer)
    : layer_(layer),
      eps_(config.norm_eps),
      residual_(config.residual_multiplier),
      gelu_(config.gelu == "erf" ? Gelu::erf : Gelu::tanh) {
  const std::string prefix = fmt::format("blocks.{}.", layer);
  norm1_ = find_param(table, prefix + "norm1.weight");
  norm1_bias_ = find_param(table, prefix + "norm1.bias");
  norm2_ = find_param(table, prefix + "norm2.weight");
  norm2_bias_ = find_param(table, prefix + "norm2.bias");
  qk_norm_ = QkNorm(table, prefix + "attention");
  qkv_ = Linear(table, prefix + "attention.qkv");
  out_ = Linear(table, prefix + "attention.out");
  up_ = Linear(table, prefix + "mlp.up");
  down_ = Linear(table, prefix + "mlp.down");
}

void Gpt3Block::make_n1(Step& s) {
  if (acts.n1.held()) return;
  s.backend.layernorm_forward({.x = acts.x.get(),
                               .gain = s.master(norm1_),
                               .bias = s.master(norm1_bias_),
                               .y = acts.n1.fill(),
                               .mean = acts.mean1.fill(),
                               .inv_std = acts.inv_std1.fill(),
                               .eps = eps_});
}

void Gpt3Block::make_qkv(Step& s) {
  if (acts.qkv.held()) return;
  make_n1(s);
  const View qkv = acts.qkv.fill(), raw = qk_norm_ ? acts.raw.fill() : qkv;
  qkv_.forward(s, s.whole(acts.n1.get()), raw);
  if (qk_norm_) qk_norm_.forward(s, raw, acts.inv_qk.fill(), qkv);
}

void Gpt3Block::make_att(Step& s) {
  if (acts.att.held()) return;
  make_qkv(s);
  attention_forward(s, layer_, acts.qkv.get(), acts.att.fill(), acts.lse.fill());
}

void Gpt3Block::make_h(Step& s) {
  if (acts.h.held()) return;
  make_att(s);
  out_.forward(s, acts.att.get(), acts.h.fill(), acts.x.get(), residual_);
}

void Gpt3Block::make_n2(Step& s) {
  if (acts.n2.held()) return;
  make_h(s);
  s.backend.layernorm_forward({.x = acts.h.get(),
                               .gain = s.master(norm2_),
                               .bias = s.master(norm2_bias_),
                               .y = acts.n2.fill(),
                               .mean = acts.mean2.fill(),
                               .inv_std = acts.inv_std2.fill(),
                               .eps = eps_});
}

/// Both `up` and `act`: a device may do the GELU behind the product.
void Gpt3Block::make_act(Step& s) {
  if (acts.act.held()) return;
  if (acts.up.held())
    return s.backend.gelu_forward({.x = acts.up.get(), .y = acts.act.fill(), .kind = gelu_});
  make_n2(s);
  up_.forward_gelu(s, s.whole(acts.n2.get()), acts.up.fill(), acts.act.fill(), gelu_);
}

void Gpt3Block::drop() {
  for (Slot* slot :
       {&acts.n1, &acts.raw, &acts.qkv, &acts.att, &acts.h, &acts.n2, &acts.up, &acts.act})
    slot->drop();
}

void Gpt3Block::forward(Step& s, View y) {
  make_h(s);
  make_act(s);
  down_.forward(s, acts.act.get(), y, acts.h.get(), residual_);
  drop();
}

void Gpt3Block::backward(Step& s, View dres) {
  const View dup = acts.dup.fill(), dn = acts.dn.fill();
  const View datt = acts.datt.fill(), dqkv = acts.dqkv.fill();

  make_act(s);
  down_.backward_gelu(s, s.whole_gradient(dres), acts.act.get(), acts.up.get(), dup, gelu_,
                      residual_);
  make_n2(s);
  up_.backward(s, dup, s.whole(acts.n2.get()), s.partial(dn));
  s.reduce(dn);
  make_h(s);
  s.backend.layernorm_backward({.dy = dn,
                                .x = acts.h.get(),
                                .gain = s.master(norm2_),
                                .mean = acts.mean2.get(),
                                .inv_std = acts.inv_std2.get(),
                                .dx_add = dres,
                                .dgain = s.grad(norm2_),
                                .dbias = s.grad(norm2_bias_)});
  s.after_feed_forward(layer_);
  make_att(s);
  out_.backward(s, s.whole_gradient(dres), acts.att.get(), datt, residual_);
  attention_backward(s, datt, acts.qkv.get(), acts.att.get(), acts.lse.get(), dqkv);
  const View draw = qk_norm_ ? acts.draw.fill() : dqkv;
  if (qk_norm_) qk_norm_.backward(s, dqkv, acts.raw.get(), acts.inv_qk.get(), draw);
  make_n1(s);
  qkv_.backward(s, draw, s.whole(acts.n1.get()), s.partial(dn));
  s.reduce(dn);
  s.backend.layernorm_backward({.dy = dn,
                                .x = acts.x.get(),
                                .gain = s.master(norm1_),
                                .mean = acts.mean1.get(),
                                .inv_std = acts.inv_std1.get(),
                                .dx_add = dres,
                                .dgain = s.grad(norm1_),
                                .dbias = s.grad(norm1_bias_)});
  drop();
}

}  // namespace isoflop
