// What the files of this folder share: the class behind make_cpu_backend, its scratch memory, and
// the single-threaded matrix product they are built on. Not for other folders.
#pragma once
#include "core/threads.hpp"
#include "ops/backend.hpp"

#include <deque>

namespace isoflop::cpu {

/// Memory that grows to the largest request and then stays; contents are not kept between requests.
class Scratch {
 public:
  float* floats(int64_t count);
  double* doubles(int64_t count);

 private:
  void* bytes(size_t count);
  Buffer buffer_;
};

/// What a WeightRef's handle points to.
struct Weight {
  View master;
};
inline View master_of(const WeightRef& w) {
  return static_cast<const Weight*>(w.handle)->master;
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(ThreadTeam& team) : team_(team) {}

  DType activation_dtype() const override { return DType::f32; }
  DType state_dtype() const override { return DType::f32; }
  std::string description() const override;
  Buffer allocate(size_t bytes, const std::string& what) override;
  WeightRef prepare(View master) override;
  void refresh(WeightRef) override {}  // products read the fp32 masters themselves

  void embedding_forward(const EmbeddingForward&) override;
  void embedding_backward(const EmbeddingBackward&) override;

  void matmul(const Matmul&) override;
  void matmul_grad_input(const MatmulGradInput&) override;
  void matmul_grad_weight(const MatmulGradWeight&) override;

  void layernorm_forward(const LayerNormForward&) override;
  void layernorm_backward(const LayerNormBackward&) override;
  void rmsnorm_forward(const RmsNormForward&) override;
  void rmsnorm_backward(const RmsNormBackward&) override;

  void rope(const Rope&) override;
  void attention_forward(const AttentionForward&) override;
  void attention_backward(const AttentionBackward&) override;

  void gelu_forward(const GeluForward&) override;
  void gelu_backward(const GeluBackward&) override;
  void swiglu_forward(const SwigluForward&) override;
  void swiglu_backward(const SwigluBackward&) override;

  void cross_entropy(const CrossEntropy&) override;

  void adamw(const AdamW&) override;
  double sum_squares(View) override;

  void zero(View) override;
  void copy(View from, View to) override;
  void add(View from, View to) override;

 private:
  ThreadTeam& team_;
  Scratch scratch_;
  std::deque<Weight> weights_;  // addresses are handles, so they must not move
};

}  // namespace isoflop::cpu
