#include "pretrain/model/llama_block.hpp"

#include <fmt/format.h>

namespace isoflop {

std::vector<ActivationSpec<LlamaBlock::Activations>> LlamaBlock::activations(
    const ModelConfig& c, int64_t N, TokenRows Ns, DType act, DType state) {
  using A = Activations;
  const int64_t D = c.d_model, F = c.d_ff, att = c.heads * c.head_dim;
  const int64_t qkv = att + 2 * c.kv_heads * c.head_dim;
  const int64_t Q = c.qk_norm ? N : 0;  // rows that qk-norm needs
  return {
      {&A::x, "x", Ns, D, act, Drop::never},
      {&A::n1, "n1", Ns, D, act, Drop::at_cheap},
      {&A::inv_rms1, "inv_rms1", Ns, 1, state, Drop::never},
      {&A::qkv, "qkv", N, qkv, act, Drop::at_block},
      {&A::raw, "raw", Q, qkv, act, Drop::at_block},
      {&A::inv_qk, "inv_qk", Q, c.heads + c.kv_heads, state, Drop::never},
      {&A::att, "att", N, att, act, Drop::at_block},
      {&A::lse, "lse", N, c.heads, state, Drop::never},
      {&A::h, "h", Ns, D, act, Drop::at_block},
      {&A::n2, "n2", Ns, D, act, Drop::at_cheap},
      {&A::inv_rms2, "inv_rms2", Ns, 1, state, Drop::never},
      {&A::gate, "gate", N, F, act, Drop::at_ffn},
      {&A::up, "up", N, F, act, Drop::at_ffn},
      {&A::act, "act", N, F, act, Drop::at_cheap},
      {&A::dact, "dact", N, F, act, Drop::scratch},
      {&A::dgate, "dgate", N, F, act, Drop::scratch},
      {&A::dup, "dup", N, F, act, Drop::scratch},
      {&A::dn, "dn", Ns, D, act, Drop::scratch},
      {&A::datt, "datt", N, att, act, Drop::scratch},
      {&A::dqkv, "dqkv", N, qkv, act, Drop::scratch},
      {&A::draw, "draw", Q, qkv, act, Drop::scratch},
  };
}

LlamaBlock::LlamaBlock(const ModelConfig& config, const ParamTable& table, int layer)
    : layer_(layer),
      q_cols_(config.heads * config.head_dim),
      kv_cols_(config.kv_heads * config.head_dim),
      eps_(config.norm_eps),
      residual_(config.residual_multiplier) {
  const std::string prefix = fmt::format("blocks.{}.", layer);
  norm1_ = find_param(table, prefix + "norm1.weight");
  norm2_ = find_param(table, prefix + "norm2.weight");
  qk_norm_ = QkNorm(table, prefix + "attention");
  q_ = Linear(table, prefix + "attention.q");
  k_ = Linear(table, prefix + "attention.k");
  v_ = Linear(table, prefix + "attention.v");
  out_ = Linear(table, prefix + "attention.out");
  gate_ = Linear(table, prefix + "mlp.gate");
  up_ = Linear(table, prefix + "mlp.up");
  down_ = Linear(table, prefix + "mlp.down");
}

void LlamaBlock::make_n1(Step& s) {
  if (acts.n1.held()) return;
  s.backend.rmsnorm_forward({.x = acts.x.get(),
                             .gain = s.master(norm1_),
                             .y = acts.n1.fill(),
                             .inv_rms = acts.inv_rms1.fill(),
                             .eps = eps_});
}

void LlamaBlock::make_qkv(Step& s) {
  if (acts.qkv.held()) return;
  make_n1(s);
  const View n1 = s.whole(acts.n1.get());
  const View qkv = acts.qkv.fill(), raw = qk_norm_ ? acts.raw.fill() : qkv;
  q_.forward(s, n1, raw.columns(0, q_cols_));
  k_.forward(s, n1, raw.columns(q_cols_, kv_cols_));
  v_.forward(s, n1, raw.columns(q_cols_ + kv_cols_, kv_cols_));
  if (qk_norm_) qk_norm_.forward(s, raw, acts.inv_qk.fill(), qkv);
  rotate(s, qkv, false);
}

void LlamaBlock::make_att(Step& s) {
  if (acts.att.held()) return;
  make_qkv(s);
  attention_forward(s, layer_, acts.qkv.get(), acts.att.fill(), acts.lse.fill());
}

void LlamaBlock::make_h(Step& s) {
  if (acts.h.held()) return;
  make_att(s);
  out_.forward(s, acts.att.get(), acts.h.fill(), acts.x.get(), residual_);
}

void LlamaBlock::make_n2(Step& s) {
  if (acts.n2.held()) return;
  make_h(s);
  s.backend.rmsnorm_forward({.x = acts.h.get(),
                             .gain = s.master(norm2_),
                             .y = acts.n2.fill(),
                             .inv_rms = acts.inv_rms2.fill(),
                             .eps = eps_});
}

void LlamaBlock::make_up(Step& s) {
  if (acts.up.held()) return;
  make_n2(s);
  const View n2 = s.whole(acts.n2.get());
  gate_.forward(s, n2, acts.gate.fill());
  up_.forward(s, n2, acts.up.fill());
}

void LlamaBlock::make_act(Step& s) {
  if (acts.act.held()) return;
  make_up(s);
  s.backend.swiglu_forward({.gate = acts.gate.get(), .up = acts.up.get(), .y = acts.act.fill()});
}

void LlamaBlock::drop() {
  for (Slot* slot : {&acts.n1, &acts.raw, &acts.qkv, &acts.att, &acts.h, &acts.n2, &acts.gate,
                     &acts.up, &acts.act})
    slot->drop();
}

void LlamaBlock::forward(Step& s, View y) {
  make_h(s);
  make_act(s);
  down_.forward(s, acts.act.get(), y, acts.h.get(), residual_);
  drop();
}

void LlamaBlock::backward(Step& s, View dres) {
  const View dact = acts.dact.fill(), dgate = acts.dgate.fill(), dup = acts.dup.fill();
  const View dn = acts.dn.fill(), datt = acts.datt.fill(), dqkv = acts.dqkv.fill();

  make_act(s);
  down_.backward(s, s.whole_gradient(dres), acts.act.get(), dact, residual_);
  make_up(s);
  s.backend.swiglu_backward(
      {.dy = dact, .gate = acts.gate.get(), .up = acts.up.get(), .dgate = dgate, .dup = dup});
  make_n2(s);
  const View n2 = s.whole(acts.n2.get()), dn2 = s.partial(dn);
  up_.backward(s, dup, n2, dn2);
  gate_.backward(s, dgate, n2, dn2, 1, true);
  s.reduce(dn);
  make_h(s);
  s.backend.rmsnorm_backward({.dy = dn,
                              .x = acts.h.get(),
                              .gain = s.master(norm2_),
                              .inv_rms = acts.inv_rms2.get(),
                              .dx_add = dres,
                              .dgain = s.grad(norm2_)});
  s.after_feed_forward(layer_);
  make_att(s);
  out_.backward(s, s.whole_gradient(dres), acts.att.get(), datt, residual_);
  attention_backward(s, datt, acts.qkv.get(), acts.att.get(), acts.lse.get(), dqkv);
  rotate(s, dqkv, true);
  const View draw = qk_norm_ ? acts.draw.fill() : dqkv;
  if (qk_norm_) qk_norm_.backward(s, dqkv, acts.raw.get(), acts.inv_qk.get(), draw);
  make_n1(s);
  const View n1 = s.whole(acts.n1.get()), dn1 = s.partial(dn);
  q_.backward(s, draw.columns(0, q_cols_), n1, dn1);
  k_.backward(s, draw.columns(q_cols_, kv_cols_), n1, dn1, 1, true);
  v_.backward(s, draw.columns(q_cols_ + kv_cols_, kv_cols_), n1, dn1, 1, true);
  s.reduce(dn);
  s.backend.rmsnorm_backward({.dy = dn,
                              .x = acts.x.get(),
                              .gain = s.master(norm1_),
                              .inv_rms = acts.inv_rms1.get(),
                              .dx_add = dres,
                              .dgain = s.grad(norm1_)});
  drop();
}

}  // namespace isoflop
