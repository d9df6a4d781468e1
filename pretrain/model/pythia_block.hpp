// The Pythia block (GPT-NeoX, Black et al. 2022; Biderman et al. 2023): attention and MLP side by
// side on the same input, each with its own LayerNorm; rotary positions on part of each head; fused
// qkv, GELU, biases everywhere.
//   y = x + r * out(attention(rope(qkv(norm1 x)))) + r * down(gelu(up(norm2 x)))
// r: residual multiplier, 1 outside CompleteP.
#pragma once
#include "pretrain/model/block.hpp"

namespace isoflop {

class PythiaBlock : public Block {
 public:
  struct Activations {
    Slot x;
    Slot n1, mean1, inv_std1, qkv, att, lse;  // attention; queries and keys are held rotated
    Slot n2, mean2, inv_std2, up, act;        // mlp
    Slot dup, dn, datt, dqkv, draw;           // backward's scratch
    Slot raw, inv_qk;                         // with qk-norm: qkv before it, and its statistics
  };
  static std::vector<ActivationSpec<Activations>> activations(
      const ModelConfig& config, int64_t tokens, TokenRows slice, DType activation, DType state);

  PythiaBlock(const ModelConfig& config, const ParamTable& table, int layer);
  Slot& input() override { return acts.x; }
  void forward(Step& s, View y) override;
  void backward(Step& s, View dres) override;

  Activations acts;

 private:
  void make_n1(Step& s);
  void make_qkv(Step& s);
  void make_att(Step& s);
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
