// ForwardingBackend: another backend, call by call. A decorator overrides what it looks at.
#pragma once
#include "ops/backend.hpp"

namespace isoflop {

class ForwardingBackend : public Backend {
 public:
  /// `backend` outlives it.
  explicit ForwardingBackend(Backend& backend) : backend_(backend) {}

  DType activation_dtype() const override { return backend_.activation_dtype(); }
  DType state_dtype() const override { return backend_.state_dtype(); }
  std::string description() const override { return backend_.description(); }
  std::string choices() const override { return backend_.choices(); }
  void use_choices(const std::string& lines) override { backend_.use_choices(lines); }
  size_t peak_bytes() const override { return backend_.peak_bytes(); }
  Buffer allocate(size_t bytes, const std::string& what) override {
    return backend_.allocate(bytes, what);
  }
  bool in_host_memory() const override { return backend_.in_host_memory(); }
  void upload(View host, View here) override { backend_.upload(host, here); }
  void download(View here, View host) override { backend_.download(here, host); }
  void synchronize() override { backend_.synchronize(); }
  void* queue() override { return backend_.queue(); }
  WeightRef prepare(View master) override { return backend_.prepare(master); }
  void refresh(WeightRef weight) override { backend_.refresh(weight); }
  bool multiplies_by(uint32_t type, int64_t cols) const override {
    return backend_.multiplies_by(type, cols);
  }
  WeightRef prepare_blocks(const BlockMatrix& matrix) override {
    return backend_.prepare_blocks(matrix);
  }

  void embedding_forward(const EmbeddingForward& op) override { backend_.embedding_forward(op); }
  void embedding_backward(const EmbeddingBackward& op) override { backend_.embedding_backward(op); }
  void matmul(const Matmul& op) override { backend_.matmul(op); }
  void matmul_grad_input(const MatmulGradInput& op) override { backend_.matmul_grad_input(op); }
  void matmul_grad_weight(const MatmulGradWeight& op) override { backend_.matmul_grad_weight(op); }
  // matmul_gelu and its gradient stay in their parts: who looks at products sees those, too.
  void layernorm_forward(const LayerNormForward& op) override { backend_.layernorm_forward(op); }
  void layernorm_backward(const LayerNormBackward& op) override { backend_.layernorm_backward(op); }
  void rmsnorm_forward(const RmsNormForward& op) override { backend_.rmsnorm_forward(op); }
  void rmsnorm_backward(const RmsNormBackward& op) override { backend_.rmsnorm_backward(op); }
  void rope(const Rope& op) override { backend_.rope(op); }
  void attention_forward(const AttentionForward& op) override { backend_.attention_forward(op); }
  void attention_backward(const AttentionBackward& op) override { backend_.attention_backward(op); }
  void gelu_forward(const GeluForward& op) override { backend_.gelu_forward(op); }
  void gelu_backward(const GeluBackward& op) override { backend_.gelu_backward(op); }
  void swiglu_forward(const SwigluForward& op) override { backend_.swiglu_forward(op); }
  void swiglu_backward(const SwigluBackward& op) override { backend_.swiglu_backward(op); }
  void softcap(const SoftCap& op) override { backend_.softcap(op); }
  void cross_entropy(const CrossEntropy& op) override { backend_.cross_entropy(op); }
  void adamw(const AdamW& op) override { backend_.adamw(op); }
  void round_to_blocks(const BlockRounding& op) override { backend_.round_to_blocks(op); }
  void state_product(const StateProduct& op) override { backend_.state_product(op); }
  void weighted_sum(const WeightedSum& op) override { backend_.weighted_sum(op); }
  void adamw_all(std::span<const AdamW> list) override { backend_.adamw_all(list); }
  double sum_squares(View view) override { return backend_.sum_squares(view); }
  double sum_squares_all(std::span<const View> list) override {
    return backend_.sum_squares_all(list);
  }
  void chunk_squares(std::span<const View> list, View squares) override {
    backend_.chunk_squares(list, squares);
  }
  double sum_chunks(std::span<const double> squares,
                    std::span<const int64_t> chunks) const override {
    return backend_.sum_chunks(squares, chunks);
  }
  bool keeps_numbers() const override { return backend_.keeps_numbers(); }
  void add_sum(View x, View sum) override { backend_.add_sum(x, sum); }
  void step_numbers(const StepNumbers& op) override { backend_.step_numbers(op); }
  void fetch(View numbers) override { backend_.fetch(numbers); }
  View fetched() override { return backend_.fetched(); }
  void zero(View view) override { backend_.zero(view); }
  void copy(View from, View to) override { backend_.copy(from, to); }
  void add(View from, View to) override { backend_.add(from, to); }

 private:
  Backend& backend_;
};

}  // namespace isoflop
