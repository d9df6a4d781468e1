// ReferenceBackend: the definitions of this folder behind the Backend interface.
//
// One scalar for everything: activations, parameters and statistics are all S. In double a model's
// backward is compared with a complex step through the same model code on std::complex<double>; in
// float and double it is what other backends are compared with. Slow and single-threaded on
// purpose, and it allocates scratch where that is simplest. WeightRefs read the master itself.
#pragma once
#include "ops/backend.hpp"
#include "ops/reference/scalar.hpp"

#include <deque>
#include <memory>
#include <string>

namespace isoflop {

template <class S>
class ReferenceBackend : public Backend {
 public:
  DType activation_dtype() const override { return dtype_of<S>(); }
  DType state_dtype() const override { return dtype_of<S>(); }
  std::string description() const override;

  Buffer allocate(size_t bytes, const std::string& what) override;

  WeightRef prepare(View master) override;
  void refresh(WeightRef) override {}

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

  void softcap(const SoftCap&) override;
  void cross_entropy(const CrossEntropy&) override;

  void adamw(const AdamW&) override;
  void state_product(const StateProduct&) override;
  void weighted_sum(const WeightedSum&) override;
  double sum_squares(View) override;

  void zero(View) override;
  void copy(View from, View to) override;
  void add(View from, View to) override;

 private:
  std::deque<reference::Weight> weights_;  // a deque, because WeightRefs hold addresses
};

extern template class ReferenceBackend<float>;
extern template class ReferenceBackend<double>;
extern template class ReferenceBackend<std::complex<double>>;

/// For f32, f64 and c128.
std::unique_ptr<Backend> make_reference_backend(DType);

}  // namespace isoflop
