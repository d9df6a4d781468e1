// The LLaMA block (Touvron et al. 2023): RMSNorm, rotary queries and keys, grouped key/value heads,
// SwiGLU, no biases.
//   h = x + r * out(attention(rope(q n), rope(k n), v n)), n = norm1 x
//   y = h + r * down(silu(gate m) * up m),                 m = norm2 h
#pragma once
#include "pretrain/model/block.hpp"

namespace isoflop {

class LlamaBlock : public Block {
 public:
  struct Activations {
    Slot x, n1, inv_rms1, qkv, att, lse;  // attention half; queries and keys are held rotated
    Slot h, n2, inv_rms2, gate, up, act;  // mlp half
    Slot dact, dgate, dup, dn, datt, dqkv, draw;  // backward's scratch
    Slot raw, inv_qk;                             // with qk-norm: qkv before it, and its statistics
  };
  static std::vector<ActivationSpec<Activations>> activations(
      const ModelConfig& config, int64_t tokens, TokenRows slice, DType activation, DType state);

  LlamaBlock(const ModelConfig& config, const ParamTable& table, int layer);
  Slot& input() override { return acts.x; }
  void forward(Step& s, View y) override;
  void backward(Step& s, View dres) override;

  Activations acts;

 private:
  void make_n1(Step& s);
  void make_qkv(Step& s);
  void make_att(Step& s);
  void make_h(Step& s);
  void make_n2(Step& s);
  void make_up(Step& s);
  void make_act(Step& s);
  void drop();

  int layer_;
  int64_t q_cols_, kv_cols_;
  double eps_, residual_;
  int norm1_, norm2_;
  QkNorm qk_norm_;
  Linear q_, k_, v_, out_, gate_, up_, down_;
};

}  // namespace isoflop
