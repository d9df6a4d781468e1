// The GPT-3 block (Brown et al. 2020, after GPT-2): pre-LayerNorm, fused qkv, GELU, biases
// everywhere.
//   h = x + r * out(attention(qkv(norm1 x)));   y = h + r * down(gelu(up(norm2 h)))
// r: residual multiplier, 1 outside CompleteP.
#pragma once
#include "pretrain/model/block.hpp"

namespace isoflop {

class Gpt3Block : public Block {
 public:
  struct Activations {
    Slot x, n1, mean1, inv_std1, qkv, att, lse;  // attention half
    Slot h, n2, mean2, inv_std2, up, act;        // mlp half
    Slot dup, dn, datt, dqkv, draw;              // backward's scratch
    Slot raw, inv_qk;                            // with qk-norm: qkv before it, and its statistics
  };
  static std::vector<ActivationSpec<Activations>> activations(
      const ModelConfig& config, int64_t tokens, TokenRows slice, DType activation, DType state);

  Gpt3Block(const ModelConfig& config, const ParamTable& table, int layer);
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
  void make_act(Step& s);
  void drop();

  int layer_;
  double eps_, residual_;
  Gelu gelu_;
  int norm1_, norm1_bias_, norm2_, norm2_bias_;
  QkNorm qk_norm_;
  Linear qkv_, out_, up_, down_;
};

}  // namespace isoflop
