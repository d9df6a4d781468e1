#include "ops/reference/backend.hpp"

#include "ops/check.hpp"
#include "ops/reference/activation.hpp"
#include "ops/reference/attention.hpp"
#include "ops/reference/embedding.hpp"
#include "ops/reference/loss.hpp"
#include "ops/reference/matmul.hpp"
#include "ops/reference/norm.hpp"
#include "ops/reference/optimizer.hpp"
#include "ops/reference/rope.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace isoflop {

template <class S>
std::string ReferenceBackend<S>::description() const {
  return fmt::format("reference {}", name_of(dtype_of<S>()));
}

template <class S>
Buffer ReferenceBackend<S>::allocate(size_t bytes, const std::string& what) {
  return allocate_host(bytes, what);
}

template <class S>
WeightRef ReferenceBackend<S>::prepare(View master) {
  ISOFLOP_CHECK(master && master.dtype == dtype_of<S>(), "a master weight in {}",
                name_of(master.dtype));
  weights_.push_back({master});
  return {master.rows, master.cols, &weights_.back()};
}

// Each op is its check and its definition.
#define ISOFLOP_REFERENCE_OP(op, Args)             \
  template <class S>                               \
  void ReferenceBackend<S>::op(const Args& args) { \
    check(args);                                   \
    reference::op<S>(args);                        \
  }
ISOFLOP_REFERENCE_OP(embedding_forward, EmbeddingForward)
ISOFLOP_REFERENCE_OP(embedding_backward, EmbeddingBackward)
ISOFLOP_REFERENCE_OP(matmul, Matmul)
ISOFLOP_REFERENCE_OP(matmul_grad_input, MatmulGradInput)
ISOFLOP_REFERENCE_OP(matmul_grad_weight, MatmulGradWeight)
ISOFLOP_REFERENCE_OP(layernorm_forward, LayerNormForward)
ISOFLOP_REFERENCE_OP(layernorm_backward, LayerNormBackward)
ISOFLOP_REFERENCE_OP(rmsnorm_forward, RmsNormForward)
ISOFLOP_REFERENCE_OP(rmsnorm_backward, RmsNormBackward)
ISOFLOP_REFERENCE_OP(rope, Rope)
ISOFLOP_REFERENCE_OP(attention_forward, AttentionForward)
ISOFLOP_REFERENCE_OP(attention_backward, AttentionBackward)
ISOFLOP_REFERENCE_OP(gelu_forward, GeluForward)
ISOFLOP_REFERENCE_OP(gelu_backward, GeluBackward)
ISOFLOP_REFERENCE_OP(swiglu_forward, SwigluForward)
ISOFLOP_REFERENCE_OP(swiglu_backward, SwigluBackward)
ISOFLOP_REFERENCE_OP(softcap, SoftCap)
ISOFLOP_REFERENCE_OP(cross_entropy, CrossEntropy)
ISOFLOP_REFERENCE_OP(adamw, AdamW)
ISOFLOP_REFERENCE_OP(state_product, StateProduct)
ISOFLOP_REFERENCE_OP(weighted_sum, WeightedSum)
#undef ISOFLOP_REFERENCE_OP

template <class S>
double ReferenceBackend<S>::sum_squares(View x) {
  return reference::sum_squares<S>(x);
}

template <class S>
void ReferenceBackend<S>::zero(View x) {
  for (int64_t r = 0; r < x.rows; ++r) std::fill_n(x.row<S>(r), x.cols, S(0));
}

template <class S>
void ReferenceBackend<S>::copy(View from, View to) {
  check_same(from, to);
  for (int64_t r = 0; r < to.rows; ++r) std::copy_n(from.row<S>(r), to.cols, to.row<S>(r));
}

template <class S>
void ReferenceBackend<S>::add(View from, View to) {
  check_same(from, to);
  for (int64_t r = 0; r < to.rows; ++r)
    for (int64_t c = 0; c < to.cols; ++c) to.row<S>(r)[c] += from.row<S>(r)[c];
}

template class ReferenceBackend<float>;
template class ReferenceBackend<double>;
template class ReferenceBackend<std::complex<double>>;

std::unique_ptr<Backend> make_reference_backend(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return std::make_unique<ReferenceBackend<float>>();
    case DType::f64:
      return std::make_unique<ReferenceBackend<double>>();
    case DType::c128:
      return std::make_unique<ReferenceBackend<std::complex<double>>>();
    default:
      break;
  }
  ISOFLOP_CHECK(false, "no reference backend computes in {}", name_of(dtype));
}

}  // namespace isoflop
